"""One call from a CT to the probabilities of liver and tumour."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_liverseg.core.probabilities import Probabilities, RunRecord
from napari_liverseg.core.progress import ignore_progress, never_cancelled
from napari_liverseg.inference.devices import resolve

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.models.spec import ModelSpec

NO_LIVER = (
    "The model found no liver in this CT: check that the abdomen is in the field "
    "of view."
)


class Predictor:
    """A model on a device, ready for any number of CTs.

    Parameters
    ----------
    model : ModelSpec
        From `find_model` or `list_models`.
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DeviceError
        When the device is missing or PyTorch cannot be loaded.
    ModelError
        When the weights are not those of the spec.
    """

    def __init__(self, model: ModelSpec, device: str = "auto") -> None:
        self.model = model
        self.device = resolve(device)
        # Only now: where PyTorch cannot be loaded, `resolve` has said so in words.
        from napari_liverseg.models.network import load_network

        self.network = load_network(model)

    def predict(
        self,
        volume: CTVolume,
        on_progress: OnProgress = ignore_progress,
        is_cancelled: IsCancelled = never_cancelled,
    ) -> Probabilities:
        """Return what the model believes about each voxel of a CT.

        The CT is resampled to the model's grid along its own axes, run window
        by window inside the box of the body, and brought back to its own grid
        inside the box where liver or tumour is possible. On the CPU the same
        CT gives the same bits every time.

        Parameters
        ----------
        volume : CTVolume
        on_progress : callable
            Told ``(done, total, text)`` at the start and after each window;
            ``done / total`` never falls.
        is_cancelled : callable
            Asked before each window.

        Raises
        ------
        CancelledError
            Once `is_cancelled` returns True.
        DeviceError
            When memory does not suffice on any device.
        """
        from napari_liverseg.inference.pipeline import run_pipeline

        started = time.perf_counter()
        on_progress(0, 1, "Resampling the CT for the model")
        belief, step, notes = run_pipeline(self, volume, on_progress, is_cancelled)
        if not belief.decision.any():
            notes = (*notes, NO_LIVER)
        record = RunRecord(
            model=self.model.name,
            model_version=self.model.version,
            model_sha256=self.model.sha256,
            device=step.device,
            seconds=time.perf_counter() - started,
            notes=notes,
        )
        on_progress(1, 1, "Segmentation is complete")
        return Probabilities(
            liver=belief.liver,
            tumour=belief.tumour,
            decision=belief.decision,
            box=belief.box,
            geometry=volume.geometry,
            run=record,
            post_processing=self.model.post_processing,
        )
