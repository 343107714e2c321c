"""A U-Net whose encoder is a residual network, as `model.json` says it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from napari_liverseg.models.classifier_spec import ResNetSpec
from napari_liverseg.models.spec import NetworkSpec

LEVELS = 5
"""How often a residual network halves a picture."""


class ResUNetSpec(NetworkSpec):
    """A residual network on the way down, plain convolutions on the way up.

    It sees each slice by itself.

    Parameters
    ----------
    depth : {10, 18, 34, 50}
        Layers of the encoder, see `ResNetSpec`.
    width : float
        Features of the encoder as a share of the original's.
    channels : tuple of int
        Features on the way up, from the full resolution down, five levels.
    """

    type: Literal["resnet-unet"]  # type: ignore[assignment]
    depth: Literal[10, 18, 34, 50] = 50
    width: float = Field(default=1.0, gt=0, le=2)
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    num_res_units: Literal[0] = 0
    norm: Literal["batch"] = "batch"
    dimensions: Literal[2] = 2

    @property
    def reduction(self) -> int:
        """How many pixels of a side lie in one of the deepest level."""
        return int(2**LEVELS)

    @property
    def encoder(self) -> ResNetSpec:
        """The residual network."""
        return ResNetSpec(depth=self.depth, width=self.width)

    @model_validator(mode="after")
    def _has_five_levels(self) -> Self:
        if len(self.channels) != LEVELS or set(self.strides) != {2}:
            msg = f"a residual network has {LEVELS} levels, each half of the last"
            raise ValueError(msg)
        return self
