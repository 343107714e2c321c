"""One call from a CT to the probabilities of liver and tumour."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from napari_liverseg.core.probabilities import Probabilities, RunRecord
from napari_liverseg.core.progress import (
    ignore_progress,
    never_back,
    never_cancelled,
)
from napari_liverseg.inference.devices import resolve
from napari_liverseg.inference.doubts import doubts
from napari_liverseg.inference.finder import finder_of
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.models.two_stage import TwoStage

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.devices import Device
    from napari_liverseg.inference.pipeline import Outcome
    from napari_liverseg.models.contract import Model


class Predictor:
    """A model on a device, ready for any number of CTs.

    Parameters
    ----------
    model : Model
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

    def __init__(self, model: Model, device: str = "auto") -> None:
        self.model = model
        self.device = resolve(device)
        self.networks = model.load_networks()

    def fresh_device(self) -> Device:
        """Return the device with the memory that is free on it now."""
        return resolve(self.device.name)

    @property
    def stages(self) -> TwoStage | None:
        """The model, where it has two stages; this one runs the second."""
        return self.model if isinstance(self.model, TwoStage) else None

    @cached_property
    def coarse(self) -> Predictor | None:
        """What finds the liver for this one: its first stage, or a cheap model.

        None where no such pass pays.
        """
        finder = finder_of(self.model)
        return None if finder is None else Predictor(finder, self.device.name)

    def predict(
        self,
        volume: CTVolume,
        on_progress: OnProgress = ignore_progress,
        is_cancelled: IsCancelled = never_cancelled,
        options: RunOptions | None = None,
        listener: Listener | None = None,
    ) -> Probabilities:
        """Return what the model believes about each voxel of a CT.

        The CT is brought to what the model expects, run window by window where
        `RunOptions.look` says, and brought back to its own grid inside the box
        where liver or tumour is possible. On the CPU the same CT gives the same
        bits every time, once the way of computing was chosen.

        Parameters
        ----------
        volume : CTVolume
        on_progress : callable
            Told ``(done, total, text)`` at the start and after each window;
            ``done / total`` never falls.
        is_cancelled : callable
            Asked before each window.
        options : RunOptions or None
            None is `RunOptions()`.
        listener : Listener or None

        Raises
        ------
        CancelledError
            Once `is_cancelled` returns True.
        DeviceError
            When memory does not suffice on any device.
        """
        from napari_liverseg.inference.pipeline import run_pipeline

        started = time.perf_counter()
        options = options or RunOptions()
        on_progress(0, 1, "Resampling the CT for the model")
        found = run_pipeline(
            self,
            volume,
            options,
            never_back(on_progress),
            is_cancelled,
            listener or Listener(),
        )
        belief, record = found.belief, self._record(found, options, started)
        probabilities = Probabilities(
            liver=belief.liver,
            tumour=belief.tumour,
            decision=belief.decision,
            box=belief.box,
            geometry=volume.geometry,
            run=record,
            post_processing=self.model.post_processing,
        )
        on_progress(1, 1, "Segmentation is complete")
        told = replace(record, notes=(*record.notes, *doubts(probabilities)))
        return replace(probabilities, run=told)

    def _record(self, found: Outcome, options: RunOptions, started: float) -> RunRecord:
        """Return how a run was done, for reports."""
        return RunRecord(
            model=self.model.name,
            model_version=self.model.version,
            model_sha256=self.model.sha256,
            device=found.step.device,
            seconds=time.perf_counter() - started,
            notes=found.notes,
            look=found.look,
            box=found.box,
            margin_mm=found.margin_mm,
            recipe=found.recipe,
            memory=str(found.plan),
            asked_look=options.look,
            mirror=options.mirror,
        )
