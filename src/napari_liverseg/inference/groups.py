"""From a network's channels to what liver work needs of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Output

FEW_CHANNELS = 6
"""Up to so many channels are kept as they are; more (whole-body models) are
reduced to the largest logit of other tissue, of liver and of tumour."""

SURE = 30.0
"""A logit that leaves no doubt, where no window was run."""


@dataclass(frozen=True)
class Groups:
    """What is kept of the logits of a model.

    Parameters
    ----------
    output : Output
    """

    output: Output

    @property
    def channels(self) -> int:
        """Channels of the network."""
        return self.output.channels

    @property
    def is_reduced(self) -> bool:
        """Whether channels are merged as soon as a plane is finished."""
        return self.channels > FEW_CHANNELS

    @property
    def kept(self) -> Output:
        """What the channels that are kept mean."""
        if not self.is_reduced:
            return self.output
        count = 0 if self.output.activation == "sigmoid" else 1
        liver = (count,) if self.output.liver else ()
        count += len(liver)
        tumour = (count,) if self.output.tumour else ()
        count += len(tumour)
        return replace(self.output, channels=count, liver=liver, tumour=tumour)

    def reduce(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the channels that are kept, shape (kept, z, y, x).

        The odds of tumour are divided by the weight that training gave it.
        """
        kept = self._merged(logits)
        is_weighed = self.output.tumour_weight != 1.0
        return self.take_weight_back(kept.clone() if is_weighed else kept)

    def take_weight_back(self, kept: torch.Tensor) -> torch.Tensor:
        """Divide the odds of tumour by their weight in training, in place."""
        if self.output.tumour_weight != 1.0:
            kept[list(self.kept.tumour)] -= math.log(self.output.tumour_weight)
        return kept

    def _merged(self, logits: torch.Tensor) -> torch.Tensor:
        if not self.is_reduced:
            return logits
        sets = [list(self.output.liver), list(self.output.tumour)]
        if self.output.activation == "softmax":
            known = (*self.output.liver, *self.output.tumour)
            sets.insert(0, [i for i in range(self.channels) if i not in known])
        return torch.stack([logits[chosen].amax(dim=0) for chosen in sets if chosen])

    def clear(self, logits: torch.Tensor) -> torch.Tensor:
        """Make logits (kept channels, z, y, x) background throughout, in place."""
        logits.fill_(-SURE)
        if self.output.activation == "softmax":
            logits[0] = SURE
        return logits
