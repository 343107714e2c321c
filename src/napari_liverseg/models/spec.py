"""What a model says of itself, so that it can be run, shown and trusted."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, model_validator

from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.contract import Input, Normalisation, Output, Windows
from napari_liverseg.models.folder_spec import STRICT, FolderSpec

if TYPE_CHECKING:
    from pathlib import Path

    import torch

SPEC_FILE = "model.json"
WEIGHTS_FILE = "model.safetensors"

ABDOMEN_WINDOW_HU = (-160.0, 240.0)
"""The lower and upper HU between which soft tissue differs."""

AIR = -1.0
"""What our own networks see of air; windows are padded with it."""

MOST_NETWORKS = 20
"""More than any cross-validation has folds."""


class Labels(BaseModel):
    """What the network's output channels mean, by the values of the label map."""

    model_config = STRICT

    background: Literal[0] = 0
    liver: Literal[1] = 1
    tumour: Literal[2] = 2


class NetworkSpec(BaseModel):
    """A MONAI UNet from one channel of CT to one channel per label.

    Parameters
    ----------
    channels : tuple of int
        Features per level, from the full resolution down.
    strides : tuple of int
        Step between two levels, one fewer than `channels`.
    num_res_units : int
        Residual units per level; 0 gives plain convolutions.
    norm : {'instance', 'batch', 'none'}
        Normalisation inside the network.
    dimensions : {2, 3}
        2 sees each slice by itself, see `planar.Planar`.
    dropout : float
        Share of features that a training step leaves out.
    """

    model_config = STRICT

    type: Literal["monai.UNet"] = "monai.UNet"
    channels: tuple[int, ...] = Field(
        default=(16, 32, 64, 128, 256), min_length=2, max_length=8
    )
    strides: tuple[int, ...] = (2, 2, 2, 2)
    num_res_units: int = Field(default=2, ge=0, le=8)
    norm: Literal["instance", "batch", "none"] = "instance"
    dimensions: Literal[2, 3] = 3
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def reduction(self) -> int:
        """How many voxels of the input lie in one voxel of the deepest level."""
        return int(np.prod(self.strides))

    def fits(self, patch: tuple[int, int, int]) -> bool:
        """Whether windows of a shape ``(z, y, x)`` can be halved as often as needed."""
        sides = patch[3 - self.dimensions :]
        return all(side % self.reduction == 0 for side in sides)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.strides) != len(self.channels) - 1:
            msg = f"{len(self.channels)} channels need {len(self.channels) - 1} strides"
            raise ValueError(msg)
        if not all(1 <= c <= 1024 for c in self.channels):
            msg = "every level needs 1 to 1024 channels"
            raise ValueError(msg)
        if not all(1 <= s <= 4 for s in self.strides):
            msg = "every stride must be 1 to 4"
            raise ValueError(msg)
        return self


def _of_its_type(value: Any) -> Any:
    """Return networks that `NetworkSpec` does not describe as what does."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "resnet-unet":
        from napari_liverseg.models.resunet_spec import ResUNetSpec

        return ResUNetSpec.model_validate(value)
    if kind == "gated-resunet":
        from napari_liverseg.models.gated_spec import GatedSpec

        return GatedSpec.model_validate(value)
    return value


AnyNetwork = Annotated[SerializeAsAny[NetworkSpec], BeforeValidator(_of_its_type)]


class ModelSpec(FolderSpec):
    """One model, as `model.json` beside its weights describes it.

    Parameters
    ----------
    name, title, notice, version, licence, training_data, trained_on, sha256, figures
        See `FolderSpec`.
    spacing_mm, patch : tuple
        Voxel spacing in mm and window in voxels of the network's input, both
        ``(z, y, x)``.
    hu_window : tuple of float
        HU mapped to -1 and 1; beyond them the input is clipped.
    overlap : float
        Share of a window that the next one covers again.
    networks : int
        Networks of one kind that are averaged, such as one a fold.
    recipe : str
        What its training was asked for, as YAML; empty where it was trained without
        a recipe.
    post_processing : PostProcessing
        How masks made from its probabilities are cleaned.
    tumour_weight : float
        How often the cross-entropy that trained it counted a voxel of tumour; it is
        taken back when the network runs, see `Output`.
    """

    spec_name: ClassVar[str] = SPEC_FILE
    weights_name: ClassVar[str] = WEIGHTS_FILE

    labels: Labels = Labels()
    spacing_mm: tuple[float, float, float]
    hu_window: tuple[float, float] = ABDOMEN_WINDOW_HU
    patch: tuple[int, int, int]
    overlap: float = Field(default=0.25, ge=0.0, le=0.9)
    network: AnyNetwork = NetworkSpec()
    post_processing: PostProcessing = PostProcessing()
    tumour_weight: float = Field(default=1.0, ge=1.0, le=100.0)
    networks: int = Field(default=1, ge=1, le=MOST_NETWORKS)
    recipe: str = ""

    @property
    def does(self) -> str:
        """At which resolution it works."""
        spacing = " x ".join(f"{s:g}" for s in self.spacing_mm)
        return f"Works at {spacing} mm (z, y, x)."

    @property
    def files(self) -> "dict[str, Path]":
        """Spec and weights."""
        return {n: self.folder / n for n in (self.spec_name, self.weights_name)}

    @property
    def layers(self) -> str:
        """The network: strides, norms or a gate's cut-off are not in its weights."""
        return self.network.model_dump_json()

    @property
    def input(self) -> Input:
        """What the network expects of a CT."""
        low, high = self.hu_window
        normalisation = Normalisation((low, high), (low + high) / 2, (high - low) / 2)
        return Input(self.spacing_mm, normalisation)

    @property
    def windows(self) -> Windows:
        """How the network is moved over a volume; around it is air."""
        step = self.network.reduction if self.network.dimensions == 3 else None
        return Windows(self.patch, self.overlap, padding=AIR, step=step)

    @property
    def output(self) -> Output:
        """What the network's channels mean."""
        liver, tumour = (self.labels.liver,), (self.labels.tumour,)
        weight = self.tumour_weight
        return Output(len(Labels.model_fields), liver, tumour, tumour_weight=weight)

    def load_networks(self) -> tuple["torch.nn.Module", ...]:
        """Return the networks with their weights, see `models.network.load_network`."""
        from napari_liverseg.models.network import load_networks

        return load_networks(self)

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if not all(0 < s <= 20 for s in self.spacing_mm):
            msg = "spacing_mm must lie above 0 and at most at 20"
            raise ValueError(msg)
        if not self.hu_window[0] < self.hu_window[1]:
            msg = "hu_window must rise"
            raise ValueError(msg)
        step = self.network.reduction
        if not all(0 < p <= 512 for p in self.patch) or not self.network.fits(
            self.patch
        ):
            msg = f"patch must be multiples of {step}, the network's reduction, to 512"
            raise ValueError(msg)
        cleaning = self.post_processing
        if cleaning.fill_holes_cm2 < 0 or cleaning.smallest_tumour_ml < 0:
            msg = "fill_holes_cm2 and smallest_tumour_ml must not be negative"
            raise ValueError(msg)
        return self


def read_spec(folder: "Path") -> ModelSpec:
    """Read and check the spec of a model folder, without its weights.

    Parameters
    ----------
    folder : Path
        Holds `model.json` and `model.safetensors`.

    Raises
    ------
    ModelError
        When a file is missing or the spec is not what it should be.
    """
    return ModelSpec.read(folder)
