"""Training a classifier of pictures: data, split, network, test, one model."""

from __future__ import annotations

import csv
import datetime
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
    CaseError,
    DeviceError,
    ExportError,
    ModelError,
)
from napari_liverseg.io.labelled_pictures import find_pictures
from napari_liverseg.models.backbone import (
    ResNetBackbone,
    encoder_weights,
    resnet_weights,
)
from napari_liverseg.models.classifier import Classifier, save_classifier
from napari_liverseg.models.classifier_spec import (
    ClassifierSpec,
    EncoderSpec,
    ResNetSpec,
    classifiers_folder,
)
from napari_liverseg.models.folder_spec import Figure
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.store import QUICK, find_model
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.training.breakdown import clauses, sentences
from napari_liverseg.training.card import NOT_CLINICAL
from napari_liverseg.training.case_slices import cut_slices, has_label_maps
from napari_liverseg.training.claim import claimed
from napari_liverseg.training.classifier_fit import (
    ClassifierEpoch,
    ClassifierFit,
    PictureData,
    logits_of,
)
from napari_liverseg.training.classifier_recipe import OwnEncoder
from napari_liverseg.training.classifier_report import write_classifier_report
from napari_liverseg.training.compute import enough_memory
from napari_liverseg.training.curves import CURVES_FILE
from napari_liverseg.training.hub_weights import FILES, HUB, weights_file
from napari_liverseg.training.order import RESULT_FILE, Trained, open_run
from napari_liverseg.training.picture_set import check_pictures
from napari_liverseg.training.picture_split import SPLIT_FILE, keep_split
from napari_liverseg.training.verdict import Answers, Verdict, judge
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.io.labelled_pictures import LabelledPictures
    from napari_liverseg.training.classifier_recipe import (
        ClassifierRecipe,
        ResidualNetwork,
    )
    from napari_liverseg.training.order import Order
    from napari_liverseg.training.watch import Ears

LIKELY_POSITIVE = "tumour"
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
        When pictures are no good, in one report, or cannot be split.
    ModelError
        When the backbone's weights do not fit, or training broke down before
        anything was kept.
    ExportError
        When the folder is taken, another training is at work in it, it or the
        classifiers' folder cannot be written to, or the disk is full.
    DeviceError
        When devices are not there, several were asked for, or memory runs out.
    """
    if order.place.devices > 1 or order.fold is not None:
        found = "A classifier trains on one device, without folds."
        raise DeviceError(found, "Leave --devices and --fold out.")
    listed = classifiers_folder()
    with ears.stop.by_signal(), claimed(order, (0,), listed, follows=False):
        open_run(order, recipe, follows=False)
        if (order.out / RESULT_FILE).is_file():  # it is over already
            return _trained(order, ClassifierSpec.read(order.model))
        try:
            data = _source(recipe, order, ears)
            positive = positive_class(recipe, data.classes)
            spec, network = _begin(recipe, data.classes, positive, ears.on_progress)
            pictures = _pictures(recipe, order, data, ears)
        except CancelledError:
            return Trained(None, "", order.report, was_stopped=True)
        network.to(order.place.one)
        fit = ClassifierFit(recipe, network, pictures, order.fold_folder(0), ears)
        with enough_memory(order.place.kind):
            fit.run()
        _write_curves(order.out / CURVES_FILE, fit.epochs)
        if fit.was_stopped:
            return Trained(None, "", order.report, was_stopped=True)
        return _finish(order, spec, fit, data)


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


def positive_class(recipe: ClassifierRecipe, classes: tuple[str, ...]) -> str | None:
    """Return which of two classes is looked for; None where there are more.

    Raises
    ------
    CaseError
        When the recipe names a class that is not there, or one of several.
    """
    if recipe.positive is not None and recipe.positive not in classes:
        found = f"The recipe looks for '{recipe.positive}', which the data lacks."
        raise CaseError(found, f"It has: {', '.join(classes)}.")
    if len(classes) > 2:
        if recipe.positive is not None:
            found = f"The data has {len(classes)} classes, and a cut-off is for two."
            raise CaseError(found, "Leave 'positive' out: each class gets its ROC.")
        return None
    likely = LIKELY_POSITIVE if LIKELY_POSITIVE in classes else classes[-1]
    return recipe.positive or likely


def _begin(
    recipe: ClassifierRecipe,
    classes: tuple[str, ...],
    positive: str | None,
    on_progress: OnProgress,
) -> tuple[ClassifierSpec, Classifier]:
    """Return the spec without figures, and the network with its first weights."""
    wanted = OwnEncoder(of=recipe.start) if recipe.start else recipe.backbone
    begun: ModelSpec | None = None
    backbone: ResNetSpec | EncoderSpec
    if isinstance(wanted, OwnEncoder):
        begun = _own_model(wanted.of)
        backbone = EncoderSpec(network=begun.network, pooling="levels")
        origin = f"the encoder of {begun.name} {begun.version}"
    else:
        backbone = ResNetSpec(depth=wanted.depth, width=wanted.width)
        origin = _origin(wanted)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = Classifier(backbone, len(classes), recipe.dropout)
    if begun is not None:
        network.backbone.load_state_dict(encoder_weights(begun))
    elif not isinstance(wanted, OwnEncoder) and wanted.weights:
        assert isinstance(network.backbone, ResNetBackbone)
        file = weights_file(wanted.weights, wanted.depth, on_progress)
        network.backbone.load_state_dict(resnet_weights(file, network.backbone))
    today = datetime.datetime.now(tz=datetime.UTC).date()
    spec = ClassifierSpec(
        name=recipe.name,
        title=f"{recipe.title}, {today}",
        notice=f"trained here with the recipe '{recipe.name}', {NOT_CLINICAL}",
        version=f"{today:%Y.%m.%d}",
        classes=classes,
        positive=positive,
        image_size=recipe.image_size,
        hu_window=recipe.hu_window,
        backbone=backbone,
        training_data=f"begun from {origin}",
        trained_on=today,
        licence=recipe.licence,
        recipe=recipe.for_card(),
    )
    return spec, network


def _origin(wanted: ResidualNetwork) -> str:
    """Return what a residual network begins from, for the card."""
    if wanted.weights == HUB:
        return FILES[wanted.depth].title
    return "weights of a file" if wanted.weights else "nothing"


def _own_model(name: str) -> ModelSpec:
    model = find_model(name)
    if isinstance(model, TwoStage):
        found = f"The model '{model.name}' is of two stages."
        raise ModelError(found, f"Name a model of one stage, such as {QUICK}.")
    if not isinstance(model, ModelSpec):
        found = f"The model '{model.name}' is no network of this program's own kind."
        raise ModelError(found, "Name one that this program trained, or a resnet.")
    if isinstance(model.network, ResUNetSpec):
        found = f"The model '{model.name}' has another encoder than a plain U-Net's."
        raise ModelError(found, "Name the model of a plain U-Net, or a resnet.")
    return model


def _pictures(
    recipe: ClassifierRecipe, order: Order, data: LabelledPictures, ears: Ears
) -> PictureData:
    read = check_pictures(data, recipe, ears.on_progress, lambda: ears.stop.is_asked)
    shares = recipe.test_share, recipe.validation_share
    path = order.fold_folder(0) / SPLIT_FILE
    split = keep_split(path, data, shares, recipe.seed)
    labels = [data.classes.index(picture.label) for picture in data.pictures]
    return PictureData(read, torch.tensor(labels), split)


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
