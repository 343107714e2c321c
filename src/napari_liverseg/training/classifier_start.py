"""What a classifier begins as: its network, its first weights, and its card."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.errors import CaseError, ModelError
from napari_liverseg.core.liver_words import TUMOUR, words_of
from napari_liverseg.models.backbone import (
    ResNetBackbone,
    encoder_weights,
    resnet_weights,
)
from napari_liverseg.models.classifier import Classifier
from napari_liverseg.models.classifier_spec import (
    ClassifierSpec,
    EncoderSpec,
    ResNetSpec,
)
from napari_liverseg.models.known_weights import file_sha256
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.store import QUICK, find_model
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.training.card import NOT_CLINICAL
from napari_liverseg.training.classifier_recipe import OwnEncoder
from napari_liverseg.training.hub_weights import weights_file, weights_title

if TYPE_CHECKING:
    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.training.classifier_recipe import (
        ClassifierRecipe,
        ResidualNetwork,
    )

NOTHING_THERE = frozenset(
    {
        *("no", "non", "none", "not", "without", "free", "absent", "negative"),
        *("normal", "healthy", "clear", "false", "0"),
    }
)
"""Words of classes that are not looked for."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """A classifier before its first epoch.

    Parameters
    ----------
    spec : ClassifierSpec
        Without figures.
    network : Classifier
        With its first weights.
    start : str or None
        Hash of the model whose encoder it has, or of the file of weights, if any.
    """

    spec: ClassifierSpec
    network: Classifier
    start: str | None


def begin(
    recipe: ClassifierRecipe, classes: tuple[str, ...], on_progress: OnProgress
) -> Beginning:
    """Return a classifier as it is before its first epoch.

    Raises
    ------
    CaseError
        See `positive_class`.
    ModelError
        When the weights that it is to begin with do not fit.
    """
    positive = positive_class(recipe, classes)
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
    start = None if begun is None else begun.sha256
    if begun is not None:
        network.backbone.load_state_dict(encoder_weights(begun))
    elif not isinstance(wanted, OwnEncoder) and wanted.weights:
        assert isinstance(network.backbone, ResNetBackbone)
        file = weights_file(wanted.weights, wanted.depth, on_progress)
        network.backbone.load_state_dict(resnet_weights(file, network.backbone))
        start = file_sha256(file)
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
    return Beginning(spec, network, start)


def positive_class(recipe: ClassifierRecipe, classes: tuple[str, ...]) -> str | None:
    """Return which of two classes is looked for; None where there are more.

    Raises
    ------
    CaseError
        When the recipe names a class that is not there, or one of several, or names
        none and the two do not tell.
    """
    if recipe.positive is not None and recipe.positive not in classes:
        found = f"The recipe looks for '{recipe.positive}', which the data lacks."
        raise CaseError(found, f"It has: {', '.join(classes)}.")
    if len(classes) > 2:
        if recipe.positive is not None:
            found = f"The data has {len(classes)} classes, and a cut-off is for two."
            raise CaseError(found, "Leave 'positive' out: each class gets its ROC.")
        return None
    return recipe.positive or _looked_for(classes)


def _looked_for(classes: tuple[str, ...]) -> str:
    """Return the one of two classes that is no 'nothing there', else the tumour."""
    words = {name: words_of(name) for name in classes}
    for likely in (
        [name for name in classes if not words[name] & NOTHING_THERE],
        [name for name in classes if words[name] & TUMOUR],
    ):
        if len(likely) == 1:
            return likely[0]
    found = f"Nothing says which of {' and '.join(classes)} is looked for."
    raise CaseError(found, f"Name it: --set positive='{classes[-1]}'.")


def _origin(wanted: ResidualNetwork) -> str:
    """Return what a residual network begins from, for the card."""
    return weights_title(wanted.weights, wanted.depth) if wanted.weights else "nothing"


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
