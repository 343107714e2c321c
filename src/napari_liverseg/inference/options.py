"""What a user may decide about a run; everything else is measured or planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_liverseg.core.probabilities import Look


@dataclass(frozen=True)
class RunOptions:
    """How to run a model on one CT.

    Parameters
    ----------
    look : {'liver', 'body', 'everywhere'}
        Where to look. ``liver``, for models finer than the coarse one: windows
        around the liver that a coarse pass finds. ``body``: windows that hold
        some of the patient. ``everywhere``: all of them.
    mirror : bool
        Average the mirror images that the model was trained for; the time
        doubles with each axis.
    focus : int or None
        Slice of the CT from which the run works outwards; None is the middle.
    tune : bool
        Whether the faster ways of computing that this computer has are used
        where they give the same mask; without it float32, as it comes.
    """

    look: Look = "liver"
    mirror: bool = False
    focus: int | None = None
    tune: bool = True
