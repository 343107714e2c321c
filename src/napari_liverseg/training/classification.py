"""Training a classifier of pictures: data, split, network, test, one model."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.errors import (
    CancelledError,
    DeviceError,
    ExportError,
)
from napari_liverseg.io.labelled_pictures import find_pictures
from napari_liverseg.models.classifier import save_classifier
from napari_liverseg.models.classifier_spec import (
    ClassifierSpec,
    EncoderSpec,
    classifiers_folder,
)
from napari_liverseg.models.folder_spec import Figure
from napari_liverseg.training.begun_with import BEGUN_FILE, keep_beginning
from napari_liverseg.training.breakdown import clauses, sentences
from napari_liverseg.training.case_slices import cut_slices, has_label_maps
from napari_liverseg.training.claim import claimed
from napari_liverseg.training.classifier_fit import (
    ClassifierEpoch,
    ClassifierFit,
    PictureData,
    logits_of,
)
from napari_liverseg.training.classifier_report import write_classifier_report
from napari_liverseg.training.classifier_start import begin
from napari_liverseg.training.compute import enough_memory
from napari_liverseg.training.curves import CURVES_FILE
from napari_liverseg.training.order import RESULT_FILE, Trained, open_run
from napari_liverseg.training.picture_set import check_pictures
from napari_liverseg.training.picture_split import SPLIT_FILE, keep_split
from napari_liverseg.training.verdict import Answers, Verdict, judge
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.io.labelled_pictures import LabelledPictures
    from napari_liverseg.models.classifier import Classifier
    from napari_liverseg.training.classifier_recipe import ClassifierRecipe
    from napari_liverseg.training.classifier_start import Beginning
    from napari_liverseg.training.order import Order
    from napari_liverseg.training.watch import Ears

PACKAGES = ("napari-liverseg", "torch", "monai")


def train(recipe: ClassifierRecipe, order: Order, ears: Ears) -> Trained:
    """Train a classifier, test it on patients kept apart, and keep it.

    Parameters
    ----------
    recipe : ClassifierRecipe
    order : Order
        Its data as `io.labelled_pictures.find_pictures` takes it, or CTs with label
        maps, see `case_slices`.
    ears : Ears

    Raises
    ------
    CaseError
        When pictures are no good, in one report, cannot be split, or are others than
        when the training began.
    ModelError
        When the backbone's weights do not fit or are of another model than before, or
        training broke down before anything was kept.
    ExportError
        When the folder is taken, another training is at work in it, it or the
        classifiers' folder cannot be written to, or the disk is full.
    DeviceError
        When devices are not there, several were asked for, or memory runs out.
    """
    if order.place.devices > 1 or order.fold is not None:
        found = "A classifier trains on one device, without folds."
        raise DeviceError(found, "Leave --devices and --fold out.")
    _refuse_among_classes(order)
    listed = classifiers_folder()
    with ears.stop.by_signal(), claimed(order, (0,), listed, follows=False):
        open_run(order, recipe, follows=False)
        if (order.out / RESULT_FILE).is_file():  # it is over already
            return _trained(order, ClassifierSpec.read(order.model))
        try:
            data = _source(recipe, order, ears)
            first = begin(recipe, data.classes, ears.on_progress)
            pictures = _pictures(recipe, order, data, first, ears)
        except CancelledError:
            return Trained(None, "", order.report, was_stopped=True)
        network = first.network.to(order.place.one)
        fit = ClassifierFit(recipe, network, pictures, order.fold_folder(0), ears)
        with enough_memory(order.place.kind):
            fit.run()
        _write_curves(order.out / CURVES_FILE, fit.epochs)
        if fit.was_stopped:
            return Trained(None, "", order.report, was_stopped=True)
        return _finish(order, first.spec, fit, data)


def _refuse_among_classes(order: Order) -> None:
    """Refuse a folder that would pass for a class of the pictures."""
    is_class = order.out.resolve().parent == order.data.resolve()
    if is_class and not has_label_maps(order.data):
        found = f"{order.out} lies in the folder of the pictures, as a class would."
        raise ExportError(found, "Choose a folder outside of it for the training.")


def _source(recipe: ClassifierRecipe, order: Order, ears: Ears) -> LabelledPictures:
    """Return the pictures; slices of labelled CTs are cut first."""
    if not has_label_maps(order.data):
        return find_pictures(order.data)
    return cut_slices(
        order.data,
        order.cache / "slices",
        recipe.hu_window,
        ears.on_progress,
        lambda: ears.stop.is_asked,
        recipe.labels,
    )


def _pictures(
    recipe: ClassifierRecipe,
    order: Order,
    data: LabelledPictures,
    first: Beginning,
    ears: Ears,
) -> PictureData:
    read = check_pictures(data, recipe, ears.on_progress, lambda: ears.stop.is_asked)
    shares = recipe.test_share, recipe.validation_share
    path = order.fold_folder(0) / SPLIT_FILE
    split = keep_split(path, data, shares, recipe.seed)
    # Names alone may be those of other pictures, with a patient on both sides.
    keys = {
        f"{number}, {picture.path.name}": key
        for number, (picture, key) in enumerate(
            zip(data.pictures, read.keys, strict=True), start=1
        )
    }
    keep_beginning(order.out / BEGUN_FILE, keys, first.start, "Pictures")
    labels = [data.classes.index(picture.label) for picture in data.pictures]
    return PictureData(read.grey, torch.tensor(labels), split)


def _finish(
    order: Order, spec: ClassifierSpec, fit: ClassifierFit, data: LabelledPictures
) -> Trained:
    """Test the best network, and write model, report and figures."""
    split = fit.data.split
    validation, test = (
        _answers(fit, data, numbers) for numbers in (split.validation, split.test)
    )
    seed = fit.recipe.seed
    verdict = judge(spec.classes, spec.positive, validation, test, seed)
    cut_off = None if spec.positive is None else verdict.classes[0].cut_off
    content = hashlib.sha256(fit.data.pictures.numpy().tobytes()).hexdigest()[:12]
    said = [f"{data.note.rstrip('.')} (data {content})", spec.training_data]
    said += [f"recipe {fit.recipe.name}"]
    said += [", ".join(f"{package} {version(package)}" for package in PACKAGES)]
    known = {
        "name": _free_name(order.name or f"{spec.name}-{spec.trained_on:%Y-%m-%d}"),
        "cut_off": cut_off,
        "figures": _figures(verdict, spec, test),
        "training_data": "; ".join(said),
        "notice": "; ".join((spec.notice, *clauses([order.fold_folder(0)]))),
    }
    spec = ClassifierSpec.model_validate({**spec.model_dump(), **known})
    saved = _save(fit.network, spec, order.model)
    write_classifier_report(order.report, saved, fit.epochs, test, verdict)
    _save(fit.network, saved, classifiers_folder() / saved.name)
    result = {"name": saved.name, "sha256": saved.sha256}
    write_text(order.out / RESULT_FILE, json.dumps(result, indent=1) + "\n")
    return _trained(order, saved)


def _trained(order: Order, saved: ClassifierSpec) -> Trained:
    lines = [figure.line for figure in saved.figures]
    lines.append(f"Use it: napari-liverseg predict-image {saved.name} PICTURE")
    told = sentences([order.fold_folder(0)])
    report = order.report
    return Trained(
        order.model, saved.name, report, figures=tuple(lines), broke_down=told
    )


def _save(network: Classifier, spec: ClassifierSpec, folder: Path) -> ClassifierSpec:
    try:
        return save_classifier(network, spec, folder)
    except OSError as error:
        found = f"The classifier could not be written to {folder}: {error.strerror}."
        raise ExportError(found, "Make room, then go on with --resume.") from error


def _answers(
    fit: ClassifierFit, data: LabelledPictures, numbers: tuple[int, ...]
) -> Answers:
    logits = logits_of(fit.network, fit.data, numbers)
    labels = fit.data.labels[list(numbers)]
    patients = tuple(data.pictures[number].patient for number in numbers)
    shares = np.asarray(logits.double().softmax(1).numpy())
    return Answers(shares, np.asarray(labels.numpy()), patients)


def _figures(
    verdict: Verdict, spec: ClassifierSpec, test: Answers
) -> tuple[Figure, ...]:
    many = f"{len(test.patients)} pictures of {len(set(test.patients))} patients"
    low, high = verdict.accuracy_95
    source = f"{many} that trained nothing"
    if isinstance(spec.backbone, EncoderSpec):
        source += ", but perhaps the model whose encoder it has"
    first = f"{source}, 95 % interval {low:.3f} to {high:.3f}"
    made = [Figure(what="accuracy", value=round(verdict.accuracy, 4), source=first)]
    for one in verdict.classes:
        ends = one.area_95
        interval = f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        at = f"{source}, at the cut-off {one.cut_off:.3f} chosen on the validation part"
        for what, value, said in (
            (f"AUC of {one.name}", one.area, f"{source}{interval}"),
            (f"sensitivity for {one.name}", one.rates.sensitivity, at),
            (f"specificity for {one.name}", one.rates.specificity, at),
        ):
            if value is not None:
                made.append(Figure(what=what, value=round(value, 4), source=said))
    return tuple(made)


def _free_name(wanted: str) -> str:
    taken = {path.name for path in classifiers_folder().glob("*")}
    names = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _write_curves(path: Path, epochs: list[ClassifierEpoch]) -> None:
    text = io.StringIO()
    names = [field.name for field in fields(ClassifierEpoch)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    write_text(path, text.getvalue())
