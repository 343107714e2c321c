"""What any model says of itself, whoever made it: all that inference knows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.probabilities import PostProcessing

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Normalisation:
    """How Hounsfield units become the network's numbers: ``(clipped - shift) / scale``.

    Parameters
    ----------
    clip : tuple of float or None
        Lowest and highest HU that the network tells apart.
    shift, scale : float
        Used when `statistics` is ``fixed``.
    statistics : {'fixed', 'mean-sd', 'min-max'}
        Whether shift and scale are the model's own, or are taken from each
        image after clipping: mean and standard deviation, or minimum and range.
    """

    clip: tuple[float, float] | None = None
    shift: float = 0.0
    scale: float = 1.0
    statistics: Literal["fixed", "mean-sd", "min-max"] = "fixed"


@dataclass(frozen=True)
class Input:
    """What the network expects of a CT.

    Parameters
    ----------
    spacing_mm : tuple of float or None
        Along the network's axes; None takes the CT as it is.
    normalisation : Normalisation
    orientation : {'LPS', 'RAS', 'stored'}
        Axes of the array before `transpose`, always slowest axis first:
        ``LPS`` is ours (+z, +y posterior, +x left), ``RAS`` has y and x turned
        round, ``stored`` is the order and direction of the file.
    transpose : tuple of int
        Network axis ``i`` is axis ``transpose[i]`` of that array.
    resampling : {'averaging', 'nnunet'}
        ``averaging`` is ours, see `inference.preprocessing`; ``nnunet`` is
        cubic, and nearest along a much coarser axis.
    crop : {'body', 'nonzero', 'none'}
        The part that the network sees: the box of the body on the model's grid
        (ours), the box of voxels other than 0 on the CT's grid (nnU-Net).
    """

    spacing_mm: Triple | None
    normalisation: Normalisation
    orientation: Literal["LPS", "RAS", "stored"] = "LPS"
    transpose: tuple[int, int, int] = (0, 1, 2)
    resampling: Literal["averaging", "nnunet"] = "averaging"
    crop: Literal["body", "nonzero", "none"] = "body"


@dataclass(frozen=True)
class Windows:
    """How a network is moved over a volume larger than it can see at once.

    Parameters
    ----------
    patch : tuple of int
        Voxels of a window, along the network's axes.
    overlap : float
        Share of a window that the next one covers again.
    placement : {'monai', 'nnunet'}
        ``monai``: even steps, the last window moved back to the edge;
        ``nnunet``: as many windows, spread evenly.
    blend : {'gaussian', 'nnunet', 'constant'}
        Weight of a voxel by its place in the window: MONAI's Gaussian,
        nnU-Net's, or 1 everywhere.
    padding : float
        Normalised value around volumes smaller than a window.
    mirror_axes : tuple of int
        Network axes along which mirrored windows may be averaged in.
    step : int or None
        Sides of smaller windows are multiples of it; None where there are none.
    """

    patch: Shape
    overlap: float = 0.5
    placement: Literal["monai", "nnunet"] = "monai"
    blend: Literal["gaussian", "nnunet", "constant"] = "gaussian"
    padding: float = 0.0
    mirror_axes: tuple[int, ...] = ()
    step: int | None = None

    def for_image(self, shape: Shape) -> Windows:
        """Return windows that a thin image fills: padding takes time and shows nothing.

        They keep half of each side at least, which leaves a network of windows the
        depth that it was made for.

        Parameters
        ----------
        shape : tuple of int
            Voxels of the image, along the network's axes.
        """
        if self.step is None:
            return self
        z, y, x = (
            min(side, math.ceil(max(n, side / 2) / self.step) * self.step)
            for side, n in zip(self.patch, shape, strict=True)
        )
        return replace(self, patch=(z, y, x))


@dataclass(frozen=True)
class Output:
    """What the network's channels mean.

    Parameters
    ----------
    channels : int
    liver : tuple of int
        Channels that are liver, be it without its tumours; empty where the model
        knows tumours alone, see `two_stage`.
    tumour : tuple of int
        Channels that are liver tumour; empty where the model knows none.
    activation : {'softmax', 'sigmoid'}
        One label a voxel, the first channel background, or regions that may
        overlap, each decided at 0.5.
    tumour_weight : float
        How often the cross-entropy that trained the network counted a voxel of
        tumour; as far as it decided, odds of tumour are so many times too high.
    """

    channels: int
    liver: tuple[int, ...]
    tumour: tuple[int, ...]
    activation: Literal["softmax", "sigmoid"] = "softmax"
    tumour_weight: float = 1.0


class Model(Protocol):
    """A model on disk, described but not loaded."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def title(self) -> str:
        """What the window calls it."""

    @property
    def notice(self) -> str:
        """What a user must know before using it."""

    @property
    def version(self) -> str:
        """Its maker's version, or the date of its weights."""

    @property
    def sha256(self) -> str:
        """Hash of the weights, in hex."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def files(self) -> dict[str, Path]:
        """All that it is read from, by the path that each keeps in a copy."""

    @property
    def layers(self) -> str:
        """The network that its weights fill, as text; another text is another one."""

    @property
    def card(self) -> str:
        """A few lines for a tooltip or a terminal."""

    @property
    def input(self) -> Input:
        """What it expects of a CT."""

    @property
    def windows(self) -> Windows:
        """How it is moved over a volume."""

    @property
    def output(self) -> Output:
        """What its channels mean."""

    @property
    def post_processing(self) -> PostProcessing:
        """How masks made from it are cleaned."""

    def load_networks(self) -> tuple[torch.nn.Module, ...]:
        """Return its networks (one a fold) on the CPU, ready to infer.

        Each maps ``(n, 1, *patch)`` float32 to ``(n, channels, *patch)`` logits.

        Raises
        ------
        ModelError
            The weights are not what they should be.
        MissingExtraError
            An optional package is not installed.
        """
