"""The offer to bring back corrections of an earlier session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.ui.message import Message, MessageArea

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.ui.session import Session

TOPIC = "recovery"


def offer_corrections(
    session: Session, area: MessageArea, on_restored: Callable[[], None]
) -> None:
    """Ask whether to restore what the journal holds of the case just opened.

    Sittings that were never answered are offered one after the other, the
    newest first; none writes over what has been edited since.

    Parameters
    ----------
    session : Session
        With the case open.
    area : MessageArea
        Where the question stays until it is answered.
    on_restored : callable
        Called after the corrections are back.
    """
    area.clear(TOPIC)
    recovery = session.recovery
    found = None if recovery is None else recovery.found()
    if recovery is None or found is None:
        return

    def restore() -> None:
        try:
            session.show_layers().restore(found)
        except LiversegError as error:
            left = {"Discard": discard, "Close": lambda: None}
            area.show_message(TOPIC, Message(str(error), "error", answers=left))
            return
        recovery.answer()
        on_restored()
        offer_corrections(session, area, on_restored)

    def discard() -> None:
        recovery.answer()
        offer_corrections(session, area, on_restored)

    when = found.saved_at.astimezone().strftime("%d %B %Y, %H:%M").lstrip("0")
    text = f"Corrections from {when} were found ({found.count:,} voxels)."
    answers = {"Restore": restore, "Discard": discard}
    area.show_message(TOPIC, Message(text, "warning", answers=answers))
