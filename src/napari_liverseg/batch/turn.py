"""A case on its way to a worker: which files it is, and what was opened of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_liverseg.batch.finished import ct_files
from napari_liverseg.batch.opening import BY_LIST, open_chosen
from napari_liverseg.batch.order import empty_volume, voxels_of, without_voxels
from napari_liverseg.batch.sight import sight_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.batch.cases import Case
    from napari_liverseg.batch.order import Order, Voxels
    from napari_liverseg.core.problem import Decision
    from napari_liverseg.core.volume import CTVolume

ATTEMPTS = 2
"""A case or model that takes two workers down would take down the third as well."""


@dataclass(eq=False)
class Turn:
    """A case that waits for a worker, or is with one.

    Parameters
    ----------
    case : Case
    attempts : int
        How many workers it was given to.
    files : str
        Which files it is, see `ct_files`.
    opened : tuple of Voxels and CTVolume, or None
        What is sent of it, and the rest; both are let go of once it was sent.
    """

    case: Case
    attempts: int = 0
    files: str = ""
    opened: tuple[Voxels, CTVolume] | None = None

    @property
    def is_spent(self) -> bool:
        """Whether it has taken as many workers with it as it may."""
        return self.attempts >= ATTEMPTS

    def by_path(self, order: Order) -> Order:
        """Return an order for a worker that reads the case itself.

        Raises
        ------
        OSError
            When a file vanishes meanwhile.
        """
        path = self.case.path.resolve()
        sight = sight_of(path)
        self.files = ct_files(self.case, sight)
        return replace(order, path=str(path), series=self.case.series, sight=sight)

    def open(self, decisions: Sequence[Decision]) -> None:
        """Open the case here, so that its voxels can be sent.

        Raises
        ------
        CaseError
            When the CT is refused, or several series could be meant.
        OSError
            When a file vanishes meanwhile.
        """
        case = self.case
        # First, so that files that are replaced meanwhile count as others.
        self.files = ct_files(case, sight_of(case.path.resolve()))
        volume = open_chosen(case.path, case.series, decisions, BY_LIST)
        self.opened = (voxels_of(volume), empty_volume(without_voxels(volume)))
