"""A quick look at held-out cases during training, on the network's own grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.preprocessing import normalise
from napari_liverseg.inference.windows import Step, slide
from napari_liverseg.measure.agreement import count_voxels, measure_agreement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.prepared_case import PreparedCase

LOOKED_AT = 2
"""Structures: the organ with its lesions, and the lesions."""


@torch.no_grad()
def dice_sums(
    network: torch.nn.Module,
    spec: ModelSpec,
    cases: Iterable[PreparedCase],
    device: torch.device,
) -> torch.Tensor:
    """Return sums of Dice and how many cases they are of, float64, shape (2, 2).

    Rows are organ and lesion, columns the sum and the number; a case without a
    lesion has no Dice of lesions. Images, windows and their weights are those of
    inference, without its cleaning.
    """
    sums = torch.zeros((LOOKED_AT, 2), dtype=torch.float64)
    was_training = network.training
    network.eval()
    for case in cases:
        found, truth = labels_found(network, spec, case, device), case.labels
        for row, least in enumerate((LIVER, TUMOUR)):
            wanted = truth >= least
            if wanted.any():
                agreement = measure_agreement(count_voxels(found >= least, wanted))
                sums[row] += torch.tensor([agreement.dice, 1.0], dtype=torch.float64)
    network.train(was_training)
    return sums


def labels_found(
    network: torch.nn.Module, spec: ModelSpec, case: PreparedCase, device: torch.device
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return what a network finds in a case, shape (z, y, x): 0, 1 or 2."""
    image = normalise(torch.from_numpy(np.array(case.hu)), spec.hu_window)

    def run(windows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network(windows.to(device))
        return logits.float().cpu()

    step = Step("cpu", 1, "cpu")
    logits = slide(run, image, spec.windows, Groups(spec.output), step)
    return np.asarray(logits.argmax(0).numpy())
