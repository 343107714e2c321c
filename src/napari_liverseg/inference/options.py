"""What a user may decide about a run; everything else is measured or planned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.inference.runner import Recipe

    OnPartial = Callable[[NDArray[np.uint8], Box], None]


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
    recipe : Recipe or None
        Compute in this way, every stage, whatever `tune` says: to compare ways.
    """

    look: Look = "liver"
    mirror: bool = False
    focus: int | None = None
    tune: bool = True
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Listener:
    """Who wants to know what a run is about to do and has found so far.

    Parameters
    ----------
    on_plan : callable or None
        Told the plan in a sentence, before the first window.
    on_partial : callable or None
        Told ``(labels, box)``, the model's own decision in a box of the CT,
        whenever slices are settled; what is told may still be cleaned.
    """

    on_plan: Callable[[str], None] | None = None
    on_partial: OnPartial | None = None
