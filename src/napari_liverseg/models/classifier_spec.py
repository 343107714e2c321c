"""What a model that tells classes of pictures apart says of itself."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.folder_spec import STRICT, FolderSpec
from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU, NetworkSpec

CLASSIFIER_FILE = "classifier.json"
CLASSIFIER_WEIGHTS = "classifier.safetensors"


class ResNetSpec(BaseModel):
    """A residual network of He et al. (2016), up to its pooled features.

    Parameters
    ----------
    depth : {10, 18, 34, 50}
        Layers; those of 18, 34 and 50 take ImageNet weights of torchvision.
    width : float
        Features as a share of the original's.
    """

    model_config = STRICT

    type: Literal["resnet"] = "resnet"
    depth: Literal[10, 18, 34, 50] = 18
    width: float = Field(default=1.0, gt=0, le=2)


class EncoderSpec(BaseModel):
    """The encoder of a U-Net, flattened to two dimensions.

    Parameters
    ----------
    network : NetworkSpec
        Of the U-Net.
    pooling : {'mean', 'levels'}
        What is kept of a picture: the mean of each feature of the deepest level, or
        mean and largest value of each feature of every level, standardised. Small
        findings show in the levels above, and drown in a mean.
    """

    model_config = STRICT

    type: Literal["unet-encoder"] = "unet-encoder"
    network: NetworkSpec
    pooling: Literal["mean", "levels"] = "mean"


Backbone = Annotated[ResNetSpec | EncoderSpec, Field(discriminator="type")]


class ClassifierSpec(FolderSpec):
    """One classifier, as `classifier.json` beside its weights describes it.

    Parameters
    ----------
    name, title, notice, version, licence, training_data, trained_on, sha256, figures
        See `FolderSpec`.
    classes : tuple of str
        What its outputs mean.
    positive : str or None
        Of two classes the one that is looked for.
    cut_off : float or None
        Probability of `positive` from which it is called; None takes the likeliest.
    image_size : int
        Rows and columns that it sees.
    hu_window : tuple of float
        HU shown as black and white where it is given a CT slice.
    backbone : ResNetSpec or EncoderSpec
    recipe : dict
        What its training was asked for.
    """

    called: ClassVar[str] = "classifier"
    spec_name: ClassVar[str] = CLASSIFIER_FILE
    weights_name: ClassVar[str] = CLASSIFIER_WEIGHTS

    classes: tuple[str, ...] = Field(min_length=2, max_length=50)
    positive: str | None = None
    cut_off: float | None = Field(default=None, ge=0, le=1)
    image_size: int = Field(ge=16, le=1024)
    hu_window: tuple[float, float] = ABDOMEN_WINDOW_HU
    backbone: Backbone
    recipe: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def does(self) -> str:
        """What it tells apart."""
        return f"Tells apart: {', '.join(self.classes)}."

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            msg = "classes must differ"
            raise ValueError(msg)
        if self.positive is not None and self.positive not in self.classes:
            msg = f"positive is '{self.positive}', which is none of the classes"
            raise ValueError(msg)
        if self.cut_off is not None and self.positive is None:
            msg = "a cut_off needs a positive class"
            raise ValueError(msg)
        if not self.hu_window[0] < self.hu_window[1]:
            msg = "hu_window must rise"
            raise ValueError(msg)
        return self


def classifiers_folder() -> Path:
    """Return the folder where the user's classifiers are looked for."""
    return data_folder() / "classifiers"


def find_classifier(name_or_path: str | Path) -> ClassifierSpec:
    """Return a classifier by its name, or by its folder.

    Raises
    ------
    ModelError
        When there is none, or its description is refused.
    """
    home = classifiers_folder() / str(name_or_path)
    folder = home if (home / CLASSIFIER_FILE).is_file() else Path(name_or_path)
    if not (folder / CLASSIFIER_FILE).is_file():
        found = f"There is no classifier '{name_or_path}'."
        names = sorted(p.parent.name for p in home.parent.glob(f"*/{CLASSIFIER_FILE}"))
        known = f"Choose one of: {', '.join(names)}; or give" if names else "Give"
        raise ModelError(found, f"{known} a folder with {CLASSIFIER_FILE}.")
    return ClassifierSpec.read(folder)
