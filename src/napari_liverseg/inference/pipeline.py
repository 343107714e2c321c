"""The steps of a prediction: model's grid, windows, and back to the CT's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.inference.fallback import first_that_fits
from napari_liverseg.inference.finished_slices import publisher
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.joining import FirstStage, join
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.look import (
    LEAST_LIVER_ML,
    LIVER_MARGIN_MM,
    body_mask,
    is_cut,
    mask_on_image,
    widen,
)
from napari_liverseg.inference.native_grid import (
    NativeBelief,
    to_native_grid,
)
from napari_liverseg.inference.options import Listener
from napari_liverseg.inference.plan import (
    MAPS,
    Plan,
    make_plan,
    refuse_unless_it_fits,
)
from napari_liverseg.inference.prepare import prepare, prepare_around
from napari_liverseg.inference.recipe import LOOKED_AT, choose_recipe
from napari_liverseg.inference.runner import Recipe, Runner
from napari_liverseg.inference.windows import Sweep, Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.options import RunOptions
    from napari_liverseg.inference.predictor import Predictor
    from napari_liverseg.inference.prepare import Prepared
    from napari_liverseg.inference.windows import Step

NOBODY = Listener()

NO_COARSE_LIVER = (
    "The coarse pass found no liver, or less than 300 ml: the model looked at every "
    "voxel instead."
)


CUT_LIVER = (
    "The liver reaches the edge of the box that the coarse pass found: look at the "
    "whole body instead ('More', or --look body)."
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run came to.

    Parameters
    ----------
    belief : NativeBelief
    step : Step
        How it was got in the end.
    plan : Plan
    look, box, margin_mm
        Where the model looked, see `RunRecord`.
    recipe : str
    notes : tuple of str
    body : tuple of slice or None
        Box of the CT around the body, where the network saw it, all of it and nothing
        else.
    """

    belief: NativeBelief
    step: Step
    plan: Plan
    look: Look
    box: Box | None
    margin_mm: float
    recipe: str
    notes: tuple[str, ...]
    body: Box | None


@dataclass(frozen=True, eq=False)
class _View:
    """Where to look: the windows of an image that hold some of `region` are run."""

    prepared: Prepared
    look: Look
    region: NDArray[np.bool_] | None = None
    box: Box | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Run:
    """What was asked for, and who is told; see `Predictor.predict`."""

    predictor: Predictor
    volume: CTVolume
    options: RunOptions
    on_progress: OnProgress
    is_cancelled: IsCancelled
    listener: Listener


def run_pipeline(
    predictor: Predictor,
    volume: CTVolume,
    options: RunOptions,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    listener: Listener = NOBODY,
) -> Outcome:
    """Return what a model believes of a CT, see `Predictor.predict`."""
    run = _Run(predictor, volume, options, on_progress, is_cancelled, listener)
    with torch.inference_mode():
        first = _first_pass(run)
        if predictor.stages and first and not first.belief.decision.any():
            return first
        return _look(run, _view(run, first), first)


def _first_pass(run: _Run) -> Outcome | None:
    """Return what the model that finds the liver came to, where there is one."""
    predictor = run.predictor
    if predictor.stages is None and run.options.look != "liver":
        return None
    if predictor.coarse is None:
        return None

    def tell(done: int, total: int, text: str) -> None:
        run.on_progress(0, 1, text.replace("Segmenting", "Looking for the liver"))

    wanted = replace(run.options, focus=None, mirror=False)
    return run_pipeline(predictor.coarse, run.volume, wanted, tell, run.is_cancelled)


def _view(run: _Run, first: Outcome | None) -> _View:
    """Return where to look, after a first pass where one pays."""
    look, volume = run.options.look, run.volume
    looks_for_liver = look == "liver" and first is not None
    if looks_for_liver and first:
        view = _around_liver(run, first)
        if view is not None:
            return view
    prepared = prepare(volume, run.predictor.model.input, run.is_cancelled)
    if look == "everywhere":
        return _View(prepared, "everywhere")
    if looks_for_liver:  # there is none, or the model's own crop has left it out
        return _View(prepared, "everywhere", notes=(NO_COARSE_LIVER,))
    body = body_mask(volume, run.is_cancelled)
    shape = volume.geometry.shape
    return _View(prepared, "body", mask_on_image(body, prepared.frame, shape))


def _around_liver(run: _Run, first: Outcome) -> _View | None:
    predictor, volume = run.predictor, run.volume
    least_ml = 0.0 if predictor.stages else LEAST_LIVER_ML
    box = _liver_box(first.belief, volume, least_ml)
    if box is None:
        return None
    wanted, windows = predictor.model.input, predictor.model.windows
    part = prepare_around(volume, wanted, box, windows, first.body, run.is_cancelled)
    return None if part is None else _View(part, "liver", box=box)


def _liver_box(found: NativeBelief, volume: CTVolume, least_ml: float) -> Box | None:
    """Return the box of a liver with its margin, None where there is too little."""
    liver_ml = np.count_nonzero(found.decision) * volume.geometry.voxel_ml
    if found.liver_box is None or liver_ml < least_ml:
        return None
    shape = volume.geometry.shape
    return widen(found.liver_box, volume.geometry.spacing_mm, shape)


def _look(run: _Run, view: _View, first: Outcome | None) -> Outcome:
    """Run the model's windows over a view, and bring the result back to the CT."""
    model, stages = run.predictor.model, run.predictor.stages
    groups = Groups(model.output)
    focus = _focus(run.options.focus, view.prepared)
    image = view.prepared.image
    sweep = Sweep(image, model.windows, groups, region=view.region, focus=focus)
    mirror = model.windows.mirror_axes if run.options.mirror else ()
    both = FirstStage(first.belief, stages.liver) if stages and first else None
    plan = _plan(run, sweep, mirror, first)
    recipe = _recipe(run, sweep, plan)
    publish = publisher(run.listener.on_partial, view.prepared, groups, both)
    tally = Tally(run.on_progress, run.is_cancelled)
    tally.start(sweep.count)

    def recipe_on(step: Step) -> Recipe:
        # What was measured on a GPU says nothing about the CPU.
        return recipe if step.device == plan.device else Recipe()

    def attempt(step: Step) -> torch.Tensor:
        runner = Runner(run.predictor.networks, mirror, recipe_on(step))
        return sweep.go(runner.to(step.device), step, tally, publish, plan.dtype)

    logits, step, notes = first_that_fits(plan.steps(), attempt)
    text = "Bringing the result back to the CT"
    run.on_progress(tally.total, tally.total + 1, text)
    belief = _on_ct(run, view, logits, groups)
    if both is not None:
        belief = join(both.finder, belief, both.liver)
    before = first.notes if stages and first else ()
    is_body = model.input.crop == "body" and view.look != "liver"
    return Outcome(
        belief=belief,
        step=step,
        plan=plan,
        look=view.look,
        box=view.box,
        margin_mm=LIVER_MARGIN_MM if view.box else 0.0,
        recipe=str(recipe_on(step)),
        notes=(*before, *view.notes, *notes, *_cut_note(belief, view, run.volume)),
        body=view.prepared.frame.covered if is_body else None,
    )


def _plan(
    run: _Run, sweep: Sweep, mirror: tuple[int, ...], first: Outcome | None
) -> Plan:
    """Return the plan of a run once it was told; refuse what cannot fit."""
    predictor = run.predictor
    plan = make_plan(
        predictor.model,
        network_bytes(predictor.model, lambda: predictor.networks),
        predictor.fresh_device(),
        sweep.shape,
        sweep.count,
        Runner(predictor.networks, mirror).passes,
        run.volume.hu.size,
    )
    if first is not None:
        # What was found first is kept, and joined with what is found then.
        maps = MAPS * first.belief.decision.size * (2 if predictor.stages else 1)
        plan = replace(plan, ram_bytes=plan.ram_bytes + maps)
    refuse_unless_it_fits(plan)
    if run.listener.on_plan is not None:
        run.listener.on_plan(plan.sentence)
    return plan


def _recipe(run: _Run, sweep: Sweep, plan: Plan) -> Recipe:
    """Return how the networks are computed: as asked for, or the fastest of a trial."""
    if run.options.recipe is not None:
        return run.options.recipe
    if not run.options.tune or sweep.count == 0:
        return Recipe()
    windows = sweep.sample(LOOKED_AT)
    return choose_recipe(
        run.predictor, windows, plan, run.is_cancelled, run.on_progress
    )


def _on_ct(
    run: _Run, view: _View, logits: torch.Tensor, groups: Groups
) -> NativeBelief:
    """Return on the CT's own grid what the windows came to."""
    frame, model = view.prepared.frame, run.predictor.model
    largest = model.post_processing.largest_component and not run.predictor.stages
    return to_native_grid(
        frame.to_volume_axes(logits),
        groups.kept,
        frame,
        largest_only=largest,
        is_cancelled=run.is_cancelled,
    )


def _cut_note(belief: NativeBelief, view: _View, volume: CTVolume) -> tuple[str, ...]:
    seen = belief.liver_box
    if view.box and seen and is_cut(seen, view.box, volume.geometry.shape):
        return (CUT_LIVER,)
    return ()


def _focus(focus: int | None, prepared: Prepared) -> float | None:
    """Return the plane of the network's image that shows a slice of the CT."""
    frame = prepared.frame
    if focus is None or frame.axes[0] != 0:
        return None
    native, kept = frame.native_box[0], frame.grid_box[0]
    ratio = frame.grid_shape[0] / (native.stop - native.start)
    plane = (focus + 0.5 - native.start) * ratio - kept.start
    return float(kept.stop - kept.start - plane if frame.flips[0] else plane)
