"""Training a 3-D segmentation network: cases, folds, networks, figures, one model."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CancelledError, ModelError
from napari_liverseg.io.folder_lock import locked
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import user_folder
from napari_liverseg.training.alter import room_for
from napari_liverseg.training.begun_with import BEGUN_FILE, keep_beginning
from napari_liverseg.training.breakdown import sentences
from napari_liverseg.training.card import draft
from napari_liverseg.training.caseload import check_cases
from napari_liverseg.training.claim import claimed
from napari_liverseg.training.compute import precision_for
from napari_liverseg.training.drawn_patches import refuse_missing
from napari_liverseg.training.fit import FoldWork, fit_fold
from napari_liverseg.training.folds import FOLDS_FILE, draw_folds, keep_folds
from napari_liverseg.training.gate_exam import ask_gate, without_gate
from napari_liverseg.training.held_out import Exam, measure_held_out
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.launch import rank_in
from napari_liverseg.training.order import (
    MEASURES_FILE,
    OPEN_FOLDER,
    START_FOLDER,
    Order,
    Trained,
    open_run,
    refuse_other_recipe,
)
from napari_liverseg.training.prepared_case import Reading
from napari_liverseg.training.pretrained import pretrained, weights_sha256
from napari_liverseg.training.report import write_report
from napari_liverseg.training.result import assemble, known_result, save_whole
from napari_liverseg.training.run import Run
from napari_liverseg.training.start import as_run, start_of
from napari_liverseg.training.watch import Ears

if TYPE_CHECKING:
    import torch

    from napari_liverseg.training.curves import Epoch
    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


def train(recipe: SegmentationRecipe, order: Order, ears: Ears) -> Trained:
    """Train what is left of a recipe's folds; with all of them, make the model.

    Parameters
    ----------
    recipe : SegmentationRecipe
    order : Order
    ears : Ears

    Raises
    ------
    CaseError
        When cases are no good, in one report, folds cannot be made of them, or they
        are others than when the training began.
    ModelError
        When the start is no model of ours or another one than it was, or training
        broke down before anything was kept, see `fit_fold`.
    ExportError
        When the folder is taken, another training is at work in it, it or the models'
        folder cannot be written to, or the disk is full.
    DeviceError
        When devices are not there or lack the recipe's precision.
    """
    wanted = _wanted(recipe, order)
    with ears.stop.by_signal(), ExitStack() as held:
        try:
            run = _prepare(recipe, order, ears, held)
        except CancelledError:
            return Trained(None, "", order.report, was_stopped=True)
        done = known_result(order, recipe.folds)
        if done is not None:
            return done
        used_s = 0.0  # measuring a fold takes none of the next one's minutes
        for place, fold in enumerate(wanted):
            left = sum(not _is_fitted(order, later) for later in wanted[place:])
            started = time.monotonic()
            if not _train_fold(run, fold, _minutes_for(recipe, used_s, max(left, 1))):
                return _unfinished(run, was_stopped=True)
            used_s += time.monotonic() - started
            if not _measure_fold(run, fold):
                return _unfinished(run, was_stopped=True)
        if run.rank > 0 or _missing(run):
            return _unfinished(run)
        with locked(order.out):  # jobs of one fold each may end together
            done = known_result(order, recipe.folds)
            return done or assemble(order, run.card(), recipe.folds, run.start)


def _prepare(
    recipe: SegmentationRecipe, order: Order, ears: Ears, held: ExitStack
) -> Run:
    """Check everything that can be wrong before the first step.

    The run's folder is this training's own until `held` is closed.
    """
    rank = rank_in(os.environ)
    start = start_of(recipe)
    spec = draft(recipe, start)
    if start is None:
        # Fetched or refused now, and not after all cases were read.
        pretrained(recipe, 0, ears.on_progress)
    if recipe.drawn is not None:
        refuse_missing(recipe.drawn)
    labelled = find_labelled(order.data)
    values = label_values(labelled.labels, recipe.labels)
    known = tuple(sorted({*labelled.labels.values(), 0}))
    around = room_for(spec.patch) if start and start.has_finder else None
    reading = Reading(values, known, spec.spacing_mm, around)
    # What is refused later all the same is told before hours of preparing.
    precision_for(recipe.precision, order.place.kind)
    draw_folds(labelled.cases, recipe.folds, recipe.seed)
    if order.fold is not None and order.fold >= recipe.folds:
        found = f"There is no fold {order.fold + 1}: the recipe has {recipe.folds}."
        raise ModelError(found, f"Choose one of 1 to {recipe.folds}.")
    wanted = _wanted(recipe, order)
    held.enter_context(claimed(order, wanted, user_folder(), follows=rank > 0))
    open_run(order, recipe, follows=rank > 0)
    cases = check_cases(
        labelled,
        reading,
        order.cache,
        ears.on_progress,
        lambda: ears.stop.is_asked,
    )
    if rank == 0:
        # Another fold's job may have opened the run by its own recipe meanwhile. The
        # other processes of this one may be here before the first has opened it.
        refuse_other_recipe(order.out, recipe)
    path = order.out / FOLDS_FILE
    known_owners = [prepared.case for prepared in cases.values()]
    folds = keep_folds(path, known_owners, recipe.folds, recipe.seed)
    keys = {name: case.content_key for name, case in cases.items()}
    begun_from = weights_sha256(recipe) if start is None else start.model.sha256
    keep_beginning(order.out / BEGUN_FILE, keys, begun_from, "CT or labels")
    return Run(recipe, order, spec, start, cases, reading, folds, ears, rank)


def _wanted(recipe: SegmentationRecipe, order: Order) -> tuple[int, ...]:
    """Return the folds that are to be trained here, from 0."""
    return tuple(range(recipe.folds)) if order.fold is None else (order.fold,)


def _is_fitted(order: Order, fold: int) -> bool:
    return (order.fold_folder(fold) / "model").is_dir()


def _train_fold(run: Run, fold: int, minutes: float | None) -> bool:
    """Train a fold if that was not done; False when stopped."""
    if _is_fitted(run.order, fold):
        return True
    folder = run.order.fold_folder(fold)
    work = FoldWork(
        number=fold,
        folder=folder,
        train=tuple(run.cases[name] for name in run.folds.train(fold)),
        held_out=_held_out(run, fold),
        first=_first_network(run, fold),
        minutes=minutes,
    )
    fitted = fit_fold(run.recipe, run.spec, work, run.order.place, _ears(run, fold))
    if fitted.was_stopped:
        return False
    if run.rank == 0:
        save_whole(fitted.network, run.unmeasured, folder / "model")
    return True


def _measure_fold(run: Run, fold: int) -> bool:
    """Measure a fold's model if that was not done; False when stopped."""
    stop = run.ears.stop
    folder = run.order.fold_folder(fold)
    if run.rank > 0 or (folder / MEASURES_FILE).is_file():
        return True
    try:
        exam = Exam(
            run.reading,
            run.order.place.one,
            _ears(run, fold).on_progress,
            lambda: stop.is_asked,
        )
        cases = _held_out(run, fold)
        if run.start is not None:
            begun, kept = run.start.model, folder / START_FOLDER
            measure_held_out(begun, fold + 1, cases, exam, kept)
        own = read_spec(folder / "model")
        if isinstance(own.network, GatedSpec):
            ask_gate(own, fold + 1, cases, exam, folder)
            left_open = as_run(without_gate(own), run.start, own.folder)
            measure_held_out(left_open, fold + 1, cases, exam, folder / OPEN_FOLDER)
        whole = as_run(own, run.start, own.folder)
        measure_held_out(whole, fold + 1, cases, exam, folder)
    except CancelledError:
        return False
    spec = run.card(fold)
    card = as_run(spec, run.start, run.order.model).card
    write_report(run.order.out, spec, run.folds, card)
    return True


def _held_out(run: Run, fold: int) -> tuple[PreparedCase, ...]:
    return tuple(run.cases[name] for name in run.folds.held_out[fold])


def _first_network(run: Run, fold: int) -> torch.nn.Module | None:
    """Return the network to begin with; of several each fold takes another one."""
    if run.start is None:
        return pretrained(run.recipe, fold)
    networks = run.start.network.load_networks()
    return networks[fold % len(networks)]


def _ears(run: Run, fold: int) -> Ears:
    """Return ears that are told of which fold there is talk."""
    count = len(run.folds.held_out)
    name = f"Fold {fold + 1} of {count}, " if count > 1 else ""

    def on_progress(done: int, total: int, text: str) -> None:
        run.ears.on_progress(done, total, _capital(name + text))

    def on_epoch(epoch: Epoch, text: str) -> None:
        if run.rank == 0:
            run.ears.on_epoch(epoch, _capital(name + text))

    return Ears(on_progress, on_epoch, run.ears.stop)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _minutes_for(
    recipe: SegmentationRecipe, used_s: float, folds_left: int
) -> float | None:
    """Return a fold's share of the minutes that are left."""
    if recipe.minutes is None:
        return None
    left = recipe.minutes - used_s / 60
    return max(left / folds_left, 0.01)


def _missing(run: Run) -> tuple[int, ...]:
    return tuple(
        fold
        for fold in range(len(run.folds.held_out))
        if not (run.order.fold_folder(fold) / MEASURES_FILE).is_file()
    )


def _unfinished(run: Run, *, was_stopped: bool = False) -> Trained:
    """Return what there is; of several processes only the first one knows more."""
    report = run.order.report
    if run.rank > 0:
        return Trained(None, "", report, was_stopped=was_stopped)
    said = sentences(run.folders)
    return Trained(None, "", report, _missing(run), was_stopped, broke_down=said)
