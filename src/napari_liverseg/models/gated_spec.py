"""A U-Net behind a gate that calls slices, as `model.json` says it."""

from typing import Literal

from pydantic import Field

from napari_liverseg.models.classifier_spec import ResNetSpec
from napari_liverseg.models.resunet_spec import ResUNetSpec


class GatedSpec(ResUNetSpec):
    """Two networks: one says whether a slice bears tumour, one where.

    The second finds liver in every slice; its tumour counts where the first says yes.

    Parameters
    ----------
    gate_depth : {10, 18, 34, 50}
        Layers of the first network, see `ResNetSpec`.
    gate_width : float
        Features of the first network as a share of the original's.
    cut_off : float
        Probability from which a slice counts as bearing tumour; 0 leaves the gate
        open.
    """

    type: Literal["gated-resunet"]  # type: ignore[assignment]
    gate_depth: Literal[10, 18, 34, 50] = 18
    gate_width: float = Field(default=1.0, gt=0, le=2)
    cut_off: float = Field(default=0.5, ge=0, le=1)

    @property
    def gate(self) -> ResNetSpec:
        """The first network, up to its features."""
        return ResNetSpec(depth=self.gate_depth, width=self.gate_width)
