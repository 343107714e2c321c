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
    "The coarse pass found no liver: the model looked at every voxel instead."
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


def run_pipeline(
    predictor: Predictor,
    volume: CTVolume,
    options: RunOptions,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    listener: Listener = NOBODY,
) -> Outcome:
    """Return what a model believes of a CT, see `Predictor.predict`."""
    model, groups = predictor.model, Groups(predictor.model.output)
    stages = predictor.stages
    with torch.inference_mode():
        first = _first_pass(predictor, volume, options, on_progress, is_cancelled)
        if stages and first and not first.belief.decision.any():
            return first
        view = _view(predictor, volume, options, first, is_cancelled)
        image, frame = view.prepared.image, view.prepared.frame
        focus = _focus(options.focus, view.prepared)
        sweep = Sweep(image, model.windows, groups, region=view.region, focus=focus)
        mirror = model.windows.mirror_axes if options.mirror else ()
        both = FirstStage(first.belief, stages.liver) if stages and first else None
        plan = _plan(predictor, sweep, mirror, volume, first, listener)
        recipe = _recipe(predictor, sweep, plan, options, is_cancelled, on_progress)
        publish = publisher(listener.on_partial, view.prepared, groups, both)
        tally = Tally(on_progress, is_cancelled)
        tally.start(sweep.count)

        def attempt(step: Step) -> torch.Tensor:
            # What was measured on a GPU says nothing about the CPU.
            own = recipe if step.device == plan.device else Recipe()
            runner = Runner(predictor.networks, mirror, own).to(step.device)
            return sweep.go(runner, step, tally, publish, plan.dtype)

        logits, step, notes = first_that_fits(plan.steps(), attempt)
        on_progress(tally.total, tally.total + 1, "Bringing the result back to the CT")
        belief = to_native_grid(
            frame.to_volume_axes(logits),
            groups.kept,
            frame,
            largest_only=model.post_processing.largest_component and not stages,
            is_cancelled=is_cancelled,
        )
        if both is not None:
            belief = join(both.finder, belief, both.liver)
    is_body = model.input.crop == "body" and view.look != "liver"
    return Outcome(
        belief=belief,
        step=step,
        plan=plan,
        look=view.look,
        box=view.box,
        margin_mm=LIVER_MARGIN_MM if view.box else 0.0,
        recipe=str(recipe if step.device == plan.device else Recipe()),
        notes=(
            *(first.notes if stages and first else ()),
            *view.notes,
            *notes,
            *_cut_note(belief, view, volume),
        ),
        body=frame.covered if is_body else None,
    )


def _plan(
    predictor: Predictor,
    sweep: Sweep,
    mirror: tuple[int, ...],
    volume: CTVolume,
    first: Outcome | None,
    listener: Listener,
) -> Plan:
    """Return the plan of a run once it was told; refuse what cannot fit."""
    plan = make_plan(
        predictor.model,
        network_bytes(predictor.model, lambda: predictor.networks),
        predictor.fresh_device(),
        sweep.shape,
        sweep.count,
        Runner(predictor.networks, mirror).passes,
        volume.hu.size,
    )
    if first is not None:
        # What was found first is kept, and joined with what is found then.
        maps = MAPS * first.belief.decision.size * (2 if predictor.stages else 1)
        plan = replace(plan, ram_bytes=plan.ram_bytes + maps)
    refuse_unless_it_fits(plan)
    if listener.on_plan is not None:
        listener.on_plan(plan.sentence)
    return plan


def _recipe(
    predictor: Predictor,
    sweep: Sweep,
    plan: Plan,
    options: RunOptions,
    is_cancelled: IsCancelled,
    on_progress: OnProgress,
) -> Recipe:
    if options.recipe is not None:
        return options.recipe
    if not options.tune or sweep.count == 0:
        return Recipe()
    windows = sweep.sample(LOOKED_AT)
    return choose_recipe(predictor, windows, plan, is_cancelled, on_progress)


def _cut_note(belief: NativeBelief, view: _View, volume: CTVolume) -> tuple[str, ...]:
    seen = belief.liver_box
    if view.box and seen and is_cut(seen, view.box, volume.geometry.shape):
        return (CUT_LIVER,)
    return ()


def _first_pass(
    predictor: Predictor,
    volume: CTVolume,
    options: RunOptions,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> Outcome | None:
    """Return what the model that finds the liver came to, where there is one."""
    if predictor.stages is None and options.look != "liver":
        return None
    if predictor.coarse is None:
        return None

    def tell(done: int, total: int, text: str) -> None:
        on_progress(0, 1, text.replace("Segmenting", "Looking for the liver"))

    wanted = replace(options, focus=None, mirror=False)
    return run_pipeline(predictor.coarse, volume, wanted, tell, is_cancelled)


def _view(
    predictor: Predictor,
    volume: CTVolume,
    options: RunOptions,
    first: Outcome | None,
    is_cancelled: IsCancelled,
) -> _View:
    """Return where to look, after a first pass where one pays."""
    looks_for_liver = options.look == "liver" and first is not None
    if looks_for_liver and first:
        view = _around_liver(predictor, volume, first, is_cancelled)
        if view is not None:
            return view
    prepared = prepare(volume, predictor.model.input, is_cancelled)
    if options.look == "everywhere":
        return _View(prepared, "everywhere")
    if looks_for_liver:  # there is none, or the model's own crop has left it out
        return _View(prepared, "everywhere", notes=(NO_COARSE_LIVER,))
    body = body_mask(volume, is_cancelled)
    shape = volume.geometry.shape
    return _View(prepared, "body", mask_on_image(body, prepared.frame, shape))


def _around_liver(
    predictor: Predictor, volume: CTVolume, first: Outcome, is_cancelled: IsCancelled
) -> _View | None:
    least_ml = 0.0 if predictor.stages else LEAST_LIVER_ML
    box = _liver_box(first.belief, volume, least_ml)
    if box is None:
        return None
    wanted, windows = predictor.model.input, predictor.model.windows
    part = prepare_around(volume, wanted, box, windows, first.body, is_cancelled)
    return None if part is None else _View(part, "liver", box=box)


def _liver_box(found: NativeBelief, volume: CTVolume, least_ml: float) -> Box | None:
    """Return the box of a liver with its margin, None where there is too little."""
    liver_ml = np.count_nonzero(found.decision) * volume.geometry.voxel_ml
    if found.liver_box is None or liver_ml < least_ml:
        return None
    shape = volume.geometry.shape
    return widen(found.liver_box, volume.geometry.spacing_mm, shape)


def _focus(focus: int | None, prepared: Prepared) -> float | None:
    """Return the plane of the network's image that shows a slice of the CT."""
    frame = prepared.frame
    if focus is None or frame.axes[0] != 0:
        return None
    native, kept = frame.native_box[0], frame.grid_box[0]
    ratio = frame.grid_shape[0] / (native.stop - native.start)
    plane = (focus + 0.5 - native.start) * ratio - kept.start
    return float(kept.stop - kept.start - plane if frame.flips[0] else plane)
