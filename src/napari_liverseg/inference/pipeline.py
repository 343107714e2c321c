"""The steps of a prediction: model's grid, windows, and back to the CT's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.box import bounding_box
from napari_liverseg.inference.fallback import first_that_fits
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.look import (
    LEAST_LIVER_ML,
    LIVER_MARGIN_MM,
    at_least,
    body_mask,
    box_on_image,
    is_cut,
    mask_on_image,
    widen,
)
from napari_liverseg.inference.native_grid import (
    NativeBelief,
    decide_planes,
    to_native_grid,
)
from napari_liverseg.inference.options import Listener
from napari_liverseg.inference.plan import Plan, make_plan, refuse_unless_it_fits
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.recipe import choose_recipe
from napari_liverseg.inference.runner import Recipe, Runner
from napari_liverseg.inference.windows import Sweep, Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.options import OnPartial, RunOptions
    from napari_liverseg.inference.predictor import Predictor
    from napari_liverseg.inference.prepare import Prepared
    from napari_liverseg.inference.windows import OnPlanes, Step

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
    """

    belief: NativeBelief
    step: Step
    plan: Plan
    look: Look
    box: Box | None
    margin_mm: float
    recipe: str
    notes: tuple[str, ...]


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
    with torch.inference_mode():
        prepared = prepare(volume, model.input, is_cancelled)
        view = _view(predictor, volume, prepared, options, on_progress, is_cancelled)
        image, frame = view.prepared.image, view.prepared.frame
        focus = _focus(options.focus, view.prepared)
        sweep = Sweep(image, model.windows, groups, region=view.region, focus=focus)
        mirror = model.windows.mirror_axes if options.mirror else ()
        plan = _plan(predictor, sweep, mirror, volume, listener)
        recipe = _recipe(predictor, sweep, plan, options, is_cancelled)
        publish = _publisher(listener.on_partial, view.prepared, groups)
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
            largest_only=model.post_processing.largest_component,
            is_cancelled=is_cancelled,
        )
    return Outcome(
        belief=belief,
        step=step,
        plan=plan,
        look=view.look,
        box=view.box,
        margin_mm=LIVER_MARGIN_MM if view.box else 0.0,
        recipe=str(recipe if step.device == plan.device else Recipe()),
        notes=(*view.notes, *notes, *_cut_note(belief, view, volume)),
    )


def _plan(
    predictor: Predictor,
    sweep: Sweep,
    mirror: tuple[int, ...],
    volume: CTVolume,
    listener: Listener,
) -> Plan:
    """Return the plan of a run once it was told; refuse what cannot fit."""
    plan = make_plan(
        predictor.model,
        predictor.networks,
        predictor.fresh_device(),
        sweep.shape,
        sweep.count,
        Runner(predictor.networks, mirror).passes,
        volume.hu.size,
    )
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
) -> Recipe:
    if not options.tune or sweep.count == 0:
        return Recipe()
    return choose_recipe(predictor, sweep.middle_window(), plan, is_cancelled)


def _cut_note(belief: NativeBelief, view: _View, volume: CTVolume) -> tuple[str, ...]:
    seen = belief.liver_box
    if view.box and seen and is_cut(seen, view.box, volume.geometry.shape):
        return (CUT_LIVER,)
    return ()


def _view(
    predictor: Predictor,
    volume: CTVolume,
    prepared: Prepared,
    options: RunOptions,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> _View:
    """Return where to look; a coarse pass is run where one pays."""
    if options.look == "everywhere":
        return _View(prepared, "everywhere")
    coarse = predictor.coarse if options.look == "liver" else None
    if coarse is None:
        body = body_mask(volume, is_cancelled)
        shape = volume.geometry.shape
        return _View(prepared, "body", mask_on_image(body, prepared.frame, shape))
    box = _find_liver(coarse, volume, options, on_progress, is_cancelled)
    if box is None:
        return _View(prepared, "everywhere", notes=(NO_COARSE_LIVER,))
    patch = predictor.model.windows.patch
    inside = bounding_box(box_on_image(box, prepared.frame))
    if inside is None:  # the model's own crop has left the liver out
        return _View(prepared, "everywhere", notes=(NO_COARSE_LIVER,))
    part = prepared.cut(at_least(inside, patch, prepared.image.shape))
    return _View(part, "liver", box=box)


def _find_liver(
    coarse: Predictor,
    volume: CTVolume,
    options: RunOptions,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> Box | None:
    """Return the box of the liver that a coarse model finds, with its margin."""

    def tell(done: int, total: int, text: str) -> None:
        on_progress(0, 1, text.replace("Segmenting", "Looking for the liver"))

    wanted = replace(options, look="body", focus=None, mirror=False)
    found = run_pipeline(coarse, volume, wanted, tell, is_cancelled).belief
    liver_ml = np.count_nonzero(found.decision) * volume.geometry.voxel_ml
    box = found.liver_box
    if box is None or liver_ml < LEAST_LIVER_ML:
        return None
    return widen(box, volume.geometry.spacing_mm, volume.geometry.shape)


def _focus(focus: int | None, prepared: Prepared) -> float | None:
    """Return the plane of the network's image that shows a slice of the CT."""
    frame = prepared.frame
    if focus is None or frame.axes[0] != 0:
        return None
    native, kept = frame.native_box[0], frame.grid_box[0]
    ratio = frame.grid_shape[0] / (native.stop - native.start)
    plane = (focus + 0.5 - native.start) * ratio - kept.start
    return float(kept.stop - kept.start - plane if frame.flips[0] else plane)


def _publisher(
    on_partial: OnPartial | None, prepared: Prepared, groups: Groups
) -> OnPlanes | None:
    """Return what tells of finished planes, in labels on the CT's grid."""
    frame = prepared.frame
    if on_partial is None or frame.axes[0] != 0:
        return None
    count = prepared.image.shape[0]
    is_final = np.zeros(count, np.bool_)

    def publish(logits: torch.Tensor, start: int, stop: int) -> None:
        is_final[start:stop] = True
        # One plane more on each side, so that slices between slabs are settled.
        first = start - int(start > 0 and is_final[start - 1])
        last = stop + int(stop < count and is_final[stop])
        if frame.flips[0]:
            first, last = count - last, count - first
        turned = frame.to_volume_axes(logits)
        settled = decide_planes(turned, groups.kept, frame, first, last)
        if settled is not None:
            on_partial(*settled)

    return publish
