"""A CT opened for somebody who is not there to choose: refusals name the way on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_liverseg.core.problem import Decision
    from napari_liverseg.core.volume import CTVolume

BY_OPTION = "Choose one of them with --series UID."
BY_LIST = "Name one of them in the column 'series' of a list.csv."


def open_chosen(
    path: Path,
    series: str | None,
    decisions: Sequence[Decision],
    choose: str = BY_OPTION,
) -> CTVolume:
    """Open a CT; where only the user can choose or decide, name the option.

    Parameters
    ----------
    path : Path
    series : str or None
        Its ``uid`` where the path holds several.
    decisions : sequence of {'resample', 'keep-first'}
    choose : str
        How the user names one of several series.

    Raises
    ------
    CaseError
        When the CT is refused, or several series could be meant.
    """
    from napari_liverseg.io.open import open_ct
    from napari_liverseg.io.series import SeveralSeriesError, UndecidedError

    try:
        return open_ct(path, series, decisions)
    except SeveralSeriesError as several:
        found = f"{several.found.rstrip()}\n{choose}"
        meant = [info for info in several.series if info.may_be_meant]
        ways = {p.decision for info in meant for p in info.errors if p.decision}
        step = f"Decide with {_options(sorted(ways), ' or ')}." if ways else ""
        raise CaseError(found, step) from several
    except UndecidedError as undecided:
        step = f"Add {_options(undecided.decisions, ' ')}."
        raise CaseError(undecided.found, step) from undecided


def _options(decisions: Iterable[Decision], between: str) -> str:
    return between.join(f"--decision {decision}" for decision in decisions)
