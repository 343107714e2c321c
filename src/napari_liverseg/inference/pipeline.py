"""The steps of a prediction: model's grid, windows, and back to the CT's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.fallback import first_that_fits, steps_for
from napari_liverseg.inference.native_grid import NativeBelief, to_native_grid
from napari_liverseg.inference.preprocessing import normalise, to_model_grid
from napari_liverseg.inference.windows import Step, Tally, count_windows, slide

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.predictor import Predictor


def run_pipeline(
    predictor: Predictor,
    volume: CTVolume,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> tuple[NativeBelief, Step, tuple[str, ...]]:
    """Return belief on the CT's grid, how it was got in the end, and notes."""
    model = predictor.model
    with torch.inference_mode():
        hu = to_model_grid(
            volume.hu, volume.geometry.spacing_mm, model.spacing_mm, is_cancelled
        )
        body = body_box(hu.numpy())
        image = normalise(hu[body], model.hu_window)
        z, y, x = image.shape
        windows = count_windows((z, y, x), model.patch, model.overlap)
        tally = Tally(windows, on_progress, is_cancelled)

        def attempt(step: Step) -> torch.Tensor:
            tally.restart()
            network = predictor.network.to(step.device)
            return slide(network, image, model, step, tally)

        steps = steps_for(predictor.device)
        logits, step, notes = first_that_fits(steps, attempt)
        on_progress(windows, windows + 1, "Bringing the result back to the CT's grid")
        liver, tumour = (torch.zeros(hu.shape) for _ in range(2))
        liver[body], tumour[body] = _probabilities(logits)
        belief = to_native_grid(
            liver,
            tumour,
            volume.geometry.shape,
            largest_only=model.post_processing.largest_component,
            is_cancelled=is_cancelled,
        )
    return belief, step, notes


def _probabilities(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities of liver or tumour and of tumour, on the CPU."""
    by_label = torch.softmax(logits, dim=0)
    tumour = by_label[TUMOUR].cpu()
    return by_label[LIVER].cpu() + tumour, tumour
