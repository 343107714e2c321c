"""What a model believes about each voxel, kept small enough to stay in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Geometry

Look = Literal["liver", "body", "everywhere"]

FULL = 255
"""The uint8 value of probability 1."""


@dataclass(frozen=True)
class Thresholds:
    """Probabilities from which a voxel counts; None is the model's own decision.

    Parameters
    ----------
    liver, tumour : float or None
        Above 0 and below 1. The liver's applies to liver *or tumour*.
    """

    liver: float | None = None
    tumour: float | None = None


@dataclass(frozen=True)
class PostProcessing:
    """How a model wants its masks cleaned.

    Parameters
    ----------
    largest_component : bool
        Keep the largest 6-connected part of liver or tumour.
    fill_holes_cm2 : float
        Fill holes enclosed in an axial slice up to this area; 0 fills none.
    smallest_tumour_ml : float
        Call 6-connected tumours below this volume liver; 0 keeps all.
    """

    largest_component: bool = True
    fill_holes_cm2: float = 2.0
    smallest_tumour_ml: float = 0.0


@dataclass(frozen=True)
class RunRecord:
    """What made a set of probabilities, for reports that can be repeated.

    Parameters
    ----------
    model, model_version, model_sha256 : str
        Name, version and hash of the weights.
    device : str
        Where it ran in the end, such as ``cpu`` or ``cuda:0``.
    seconds : float
        Wall time of the whole prediction.
    notes : tuple of str
        What the user should know, such as a fallback after out of memory.
    look : {'liver', 'body', 'everywhere'}
        Where the model looked: at a box around the liver that a coarse pass
        found, at the body, or at every voxel.
    box : tuple of slice or None
        Voxels of the CT that it looked at, where that was a liver's box.
    margin_mm : float
        How far the box reaches beyond the liver.
    recipe : str
        Precision and layout of the computation.
    memory : str
        What the run needed by the plan made before it, and what was free.
    asked_look : {'liver', 'body', 'everywhere'}
        Where the user wanted it to look; `look` may be more than that.
    mirror : bool
        Whether the user wanted mirror images averaged.
    """

    model: str
    model_version: str
    model_sha256: str
    device: str
    seconds: float
    notes: tuple[str, ...] = ()
    look: Look = "body"
    box: Box | None = None
    margin_mm: float = 0.0
    recipe: str = "float32"
    memory: str = ""
    asked_look: Look = "liver"
    mirror: bool = False


@dataclass(frozen=True, eq=False)
class Probabilities:
    """A model's probabilities on the grid of a CT, inside the box where they matter.

    Outside `box` both probabilities are 0 and the decision is background.

    Parameters
    ----------
    liver : ndarray of uint8, shape of the box
        Probability of liver *or tumour*, 0..255 for 0..1.
    tumour : ndarray of uint8, shape of the box
        Probability of tumour, 0..255 for 0..1.
    decision : ndarray of uint8, shape of the box
        The model's own decision (argmax before rounding): 0, 1 liver, 2 tumour.
    box : tuple of slice
        Where the arrays lie in the volume.
    geometry : Geometry
        Grid of the whole volume.
    run : RunRecord
        What made them.
    post_processing : PostProcessing
        How masks made from them are cleaned.
    """

    liver: NDArray[np.uint8]
    tumour: NDArray[np.uint8]
    decision: NDArray[np.uint8]
    box: Box
    geometry: Geometry
    run: RunRecord
    post_processing: PostProcessing = PostProcessing()

    def __post_init__(self) -> None:
        """Refuse arrays that do not fill the box."""
        expected = tuple(s.stop - s.start for s in self.box)
        for name in ("liver", "tumour", "decision"):
            array = getattr(self, name)
            if array.shape != expected or array.dtype != np.uint8:
                msg = (
                    f"{name} is {array.dtype} {array.shape}, expected uint8 {expected}"
                )
                raise ValueError(msg)
