"""The recipe of a 2-D network that segments a CT slice by slice."""

from typing import Literal, Self

from pydantic import model_validator

from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.training.hub_weights import refuse_unpublished
from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


class PlanarRecipe(SegmentationRecipe):
    """What a training of a 2-D segmentation network is made of.

    Patches are one slice high. ``sampling.lesion`` is the share of slices that bear
    a lesion, ``sampling.organ`` that of slices with the organ and without a lesion.

    Parameters
    ----------
    weights : str or None
        File with first weights of a residual encoder, see `backbone.resnet_weights`,
        and of a gate of the same depth and width; or `hub_weights.HUB`.
    """

    kind: Literal["segmentation-2d"] = "segmentation-2d"  # type: ignore[assignment]
    weights: str | None = None

    @model_validator(mode="after")
    def _is_planar(self) -> Self:
        if self.network is not None and self.network.dimensions != 2:
            msg = "network.dimensions must be 2 in a recipe for slices"
            raise ValueError(msg)
        if self.patch is not None and self.patch[0] != 1:
            msg = f"patch must be one slice high, and is {self.patch[0]}"
            raise ValueError(msg)
        if self.drawn is not None:
            msg = "drawn must be left out in a recipe for slices"
            raise ValueError(msg)
        if self.weights is not None and not isinstance(self.network, ResUNetSpec):
            msg = "weights are for a network of the type resnet-unet or gated-resunet"
            raise ValueError(msg)
        if isinstance(self.network, ResUNetSpec):
            refuse_unpublished(self.weights, self.network.depth, self.network.width)
        resolution = self.augmentation.resolution
        if resolution.probability and resolution.factor[0] <= 0.5:
            msg = "resolution.factor must stay above 0.5, for a slice cannot be halved"
            raise ValueError(msg)
        return self
