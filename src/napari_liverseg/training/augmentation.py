"""How training images are altered, each way with its probability and its range."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Range = tuple[Positive, Positive]
Axis = Literal["z", "y", "x"]


class _Alteration(BaseModel):
    """One way to alter an image: how often it is applied."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    probability: Probability = 0.0

    @model_validator(mode="after")
    def _rises(self) -> _Alteration:
        for name in type(self).model_fields:
            value = getattr(self, name)
            is_range = isinstance(value, tuple) and len(value) == 2
            if is_range and isinstance(value[0], float) and value[0] > value[1]:
                msg = f"{name} must rise"
                raise ValueError(msg)
        return self


class Rotation(_Alteration):
    """Turn by up to `degrees` either way, about the axes z, y and x."""

    degrees: tuple[float, float, float] = (15.0, 5.0, 5.0)


class Scaling(_Alteration):
    """Stretch each axis by a factor of its own."""

    factor: Range = (0.85, 1.2)


class Flipping(_Alteration):
    """Mirror along each of `axes`; off where left and right are not alike."""

    axes: tuple[Axis, ...] = ("x",)


class Elastic(_Alteration):
    """Deform by `shift` voxels along each axis, smoothly over `sigma` voxels.

    The shift is the root mean square over the patch.
    """

    sigma: Range = (6.0, 9.0)
    shift: tuple[NotNegative, NotNegative] = (0.5, 2.0)


class Noise(_Alteration):
    """Add Gaussian noise of up to `sd_hu` HU."""

    sd_hu: float = Field(default=25.0, gt=0.0)


class Blur(_Alteration):
    """Smooth by a Gaussian of `sigma` voxels, drawn for each axis."""

    sigma: Range = (0.4, 1.0)


class Contrast(_Alteration):
    """Stretch the HU around their mean by a factor."""

    factor: Range = (0.75, 1.25)


class Resolution(_Alteration):
    """Sample with fewer voxels, by this factor of their number along each axis."""

    factor: Range = (0.5, 1.0)


class Augmentation(BaseModel):
    """Every way to alter an image; each is off until it gets a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation: Rotation = Rotation()
    scaling: Scaling = Scaling()
    flipping: Flipping = Flipping()
    elastic: Elastic = Elastic()
    noise: Noise = Noise()
    blur: Blur = Blur()
    contrast: Contrast = Contrast()
    resolution: Resolution = Resolution()
