"""Corrections of other sittings: offered once they have ended, and told of before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.ui.message import Message, MessageArea

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.ui.session import Session

TOPIC = "recovery"
ELSEWHERE = (
    "This CT is being corrected in another window too. Each window keeps its own "
    "corrections. When the other one is closed, open the CT again to be offered "
    "what was painted there."
)

NOTHING_FREE = (
    "None was restored: what counts as edited now lies over all of them. To have them "
    "back, press 'Discard corrections…' under Correct first."
)


def tell_of_other_windows(session: Session, area: MessageArea) -> None:
    """Say that the case just opened is being corrected in another window too."""
    if session.recovery is not None and session.recovery.is_open_elsewhere():
        area.show_message("elsewhere", Message(ELSEWHERE, "warning"))


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
        masks = session.show_layers()
        before = masks.edited_voxels
        try:
            masks.restore(found.corrections)
        except LiversegError as error:
            rest = {"Discard": discard, "Close": lambda: None}
            area.show_message(TOPIC, Message(str(error), "error", answers=rest))
            return
        if masks.edited_voxels == before:
            show(f"{text} {NOTHING_FREE}")
            return
        recovery.answer(found)
        on_restored()
        offer_corrections(session, area, on_restored)

    def discard() -> None:
        recovery.answer(found)
        offer_corrections(session, area, on_restored)

    def show(question: str) -> None:
        answers = {"Restore": restore, "Discard": discard}
        area.show_message(TOPIC, Message(question, "warning", answers=answers))

    left = found.corrections
    when = left.saved_at.astimezone().strftime("%d %B %Y, %H:%M").lstrip("0")
    text = f"Corrections from {when} were found ({left.count:,} voxels)."
    show(text)
