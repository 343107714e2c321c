"""Train the starter model: ``python -m napari_liverseg.training.starter --help``."""

import csv
import datetime
import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from monai.utils import set_determinism
from numpy import nanmean
from torch.utils.data import DataLoader

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.preprocessing import normalise
from napari_liverseg.models.network import build_network, load_network, save_model
from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU, ModelSpec, NetworkSpec
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.sample import PatchGrid
from napari_liverseg.training.loss import liver_tumour_loss
from napari_liverseg.training.sampler import SampleStream, Sources

PATCH, BATCH = (80, 96, 112), 2
WARM_UP_STEPS, CLIP, EMA_DECAY = 100, 5.0, 0.998
CHECKPOINT_EVERY = 50
MOST_SKIPPED = 20
"""Steps in a row without a finite gradient after which a run gives up."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """What one of the starter's two networks is made for.

    Parameters
    ----------
    name, title, version : str
        Of the model that training makes.
    voxel_mm : float
        Edge of the network's voxels.
    phantom_mm, inside_share : float
        See `Sources`.
    overlap, smallest_tumour_ml : float
        See `ModelSpec` and `PostProcessing`.
    """

    name: str
    title: str
    version: str
    voxel_mm: float
    phantom_mm: float
    inside_share: float
    overlap: float = 0.5
    smallest_tumour_ml: float = 0.0

    @property
    def grid(self) -> PatchGrid:
        """The samples it learns from."""
        return PatchGrid(PATCH, (self.voxel_mm, self.voxel_mm, self.voxel_mm))


STAGES = {
    "coarse": Stage(
        name="starter-3mm",
        title="Starter model, quick (3 mm)",
        version="1.0.0",
        voxel_mm=3.0,
        phantom_mm=3.0,
        inside_share=0.0,
    ),
    "fine": Stage(
        name="starter-detail",
        title="Starter model, second stage",
        version="2.0.0",
        voxel_mm=1.5,
        phantom_mm=2.0,
        inside_share=0.8,
        overlap=0.25,
        smallest_tumour_ml=0.1,
    ),
}


def starter_spec(
    stage: Stage, steps: int, *, with_scan: bool, start: ModelSpec | None = None
) -> ModelSpec:
    """Return the spec of the model that `train` makes, before its hash is known."""
    before = f"; begun from {start.name} {start.version}" if start else ""
    public = (
        "one public unenhanced CT with its model-made label map "
        "(TotalSegmentator test data) and one public abdominal atlas (SPL), both "
        "deformed and recoloured, and "
    )
    return ModelSpec(
        name=stage.name,
        title=stage.title,
        notice=(
            "trained on synthetic and public sample data, not for clinical use"
            if with_scan
            else "trained on synthetic data, not for clinical use"
        ),
        version=stage.version,
        spacing_mm=stage.grid.spacing_mm,
        patch=PATCH,
        overlap=stage.overlap,
        post_processing=PostProcessing(smallest_tumour_ml=stage.smallest_tumour_ml),
        network=NetworkSpec(),
        training_data=(
            f"{public if with_scan else ''}procedural phantoms with planted tumours "
            f"({steps * BATCH} drawn images{before})"
        ),
        trained_on=datetime.datetime.now(tz=datetime.UTC).date(),
        licence="Apache-2.0",
    )


@dataclass(frozen=True)
class Schedule:
    """How long a run takes; the learning rate ends at 0 there.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    minutes : float or None
        Ends the run by the clock instead; time in which it was interrupted does
        not count.
    peak_rate : float
        Highest learning rate, after the warm-up.
    """

    steps: int
    minutes: float | None = None
    peak_rate: float = 1.5e-3


class Run:
    """One training run: network, its running average, optimiser and step.

    Parameters
    ----------
    out : Path
        Folder of the checkpoint and the loss curve.
    schedule : Schedule
    device : str
        As torch names it.
    seed : int
        Of the network's first weights and of the samples.
    bf16 : bool or None
        Whether the network runs in bfloat16: about twice as fast where the
        device has it (None asks the device), but on CPUs no two runs are alike
        to the last bit.
    """

    def __init__(
        self,
        out: Path,
        schedule: Schedule,
        device: str,
        *,
        seed: int = 7,
        bf16: bool | None = None,
    ) -> None:
        self.out, self.schedule, self.device, self.seed = out, schedule, device, seed
        self.seconds_before, self._started = 0.0, time.monotonic()
        self.bf16 = multiplies_bf16(device) if bf16 is None else bf16
        self.step = self.skipped = 0
        set_determinism(seed)
        # Channels last: a third faster in float32 on CPUs, by measurement.
        self.network = build_network(NetworkSpec()).to(device)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = build_network(NetworkSpec()).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.peak_rate, weight_decay=1e-4
        )

    @property
    def seconds(self) -> float:
        """How long the run has taken, without interruptions."""
        return self.seconds_before + time.monotonic() - self._started

    @property
    def done(self) -> float:
        """Share of the run that is behind it; at least 1 when it is over."""
        if self.schedule.minutes is not None:
            return self.seconds / (60 * self.schedule.minutes)
        return self.step / self.schedule.steps if self.schedule.steps else 1.0

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    def learn(self, hu: torch.Tensor, labels: torch.Tensor) -> float:
        """Take one step on a batch and return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        image = normalise(hu.to(self.device), ABDOMEN_WINDOW_HU)
        image = image.contiguous(memory_format=torch.channels_last_3d)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
            logits = self.network(image)
        loss = liver_tumour_loss(logits, labels.to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.step += 1
        if not torch.isfinite(norm):
            self._skip()
            return float("nan")
        self.skipped = 0
        self.optimiser.step()
        self._follow()
        return float(loss.detach())

    def _skip(self) -> None:
        """Leave the network as it is; give up when this goes on."""
        self.skipped += 1
        _log.warning("step %d skipped: its gradient is not finite", self.step)
        if self.skipped >= MOST_SKIPPED:
            found = (
                f"Training broke down: {MOST_SKIPPED} steps in a row are not finite."
            )
            step = f"The last good state is {self.checkpoint}; train on with fp32."
            raise ModelError(found, step)

    def save(self) -> None:
        """Write the state beside its place, then move it there."""
        self.out.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def start_from(self, model: ModelSpec) -> None:
        """Take a model's weights as the first ones, instead of random ones."""
        weights = load_network(model).state_dict()
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def resume(self) -> None:
        """Take up the state that `save` left, if there is one."""
        if self.checkpoint.is_file():
            state = torch.load(self.checkpoint, self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
            self.seconds_before = float(state.get("seconds", 0.0))
            self._started = time.monotonic()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        falling = 0.5 * (1 + math.cos(math.pi * min(self.done, 1)))
        return self.schedule.peak_rate * warm * falling

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running average towards the network, quickly at first."""
        keep = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        for mean, new in zip(
            self.average.state_dict().values(),
            self.network.state_dict().values(),
            strict=True,
        ):
            mean.lerp_(new, 1 - keep)


def train(
    run: Run, stage: Stage, data: Path | None = None, start: ModelSpec | None = None
) -> Path:
    """Train one of the starter's networks and save it as a model folder.

    A run that was interrupted goes on from its last checkpoint; a new one
    begins with the weights of `start`, where that is given.

    Returns
    -------
    Path
        The model folder, in `Run.out`, of the stage's name.
    """
    if start:
        run.start_from(start)
    run.resume()
    sources = Sources(
        data, phantom_mm=stage.phantom_mm, inside_share=stage.inside_share
    )
    left = max(run.schedule.steps - run.step, 0)
    stream = SampleStream(sources, stage.grid, run.seed, run.step * BATCH, left * BATCH)
    loader = DataLoader(stream, BATCH, num_workers=1, prefetch_factor=4)
    run.out.mkdir(parents=True, exist_ok=True)
    with (run.out / "curve.csv").open("a", buffering=1, newline="") as file:
        _learn_all(run, loader, csv.writer(file))
    folder = run.out / stage.name
    spec = starter_spec(stage, run.step, with_scan=data is not None, start=start)
    save_model(run.average, spec, folder)
    return folder


def _learn_all(run: Run, loader: DataLoader[Any], curve: Any) -> None:
    """Take every batch; keep a checkpoint and a line of the curve now and then."""
    recent = deque[float](maxlen=CHECKPOINT_EVERY)
    for hu, labels in loader:
        recent.append(run.learn(hu, labels))
        is_over = run.done >= 1
        if run.step % CHECKPOINT_EVERY == 0 or is_over:
            run.save()
            loss = nanmean(recent)
            curve.writerow([run.step, f"{loss:.4f}", f"{run.seconds:.0f}"])
            _log.info("step %d, %.0f %%, loss %.3f", run.step, 100 * run.done, loss)
        if is_over:
            return


def main(  # noqa: PLR0913 - one option each
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, curve and model.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with abdomen-3mm/ and atlas/; phantoms alone without."
        ),
    ] = None,
    stage: Annotated[
        str, typer.Option(help="coarse (3 mm) or fine (1.5 mm).")
    ] = "coarse",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 5900,
    minutes: Annotated[
        float | None, typer.Option(help="Ends the run by the clock, not by steps.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of network, phantoms and samples.")] = 7,
    start: Annotated[
        str | None, typer.Option(help="Model whose weights to begin with.")
    ] = None,
    peak_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1.5e-3,
    bf16: Annotated[
        bool | None,
        typer.Option(help="bfloat16: fast where the device has it; fp32: repeatable."),
    ] = None,
) -> None:
    """Train the starter model, or go on with an interrupted training."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    schedule = Schedule(steps, minutes, peak_rate)
    run = Run(out, schedule, device, seed=seed, bf16=bf16)
    first = find_model(start) if start else None
    if first is not None and not isinstance(first, ModelSpec):
        found = f"The model '{first.name}' is of another kind than is trained here."
        raise ModelError(found, "Begin with a model that this program trained.")
    _log.info("model written to %s", train(run, STAGES[stage], data, first))


if __name__ == "__main__":
    typer.run(main)
