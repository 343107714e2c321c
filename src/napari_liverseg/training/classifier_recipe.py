"""The recipe of a network that tells classes of pictures apart."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU
from napari_liverseg.training.hub_weights import refuse_unpublished
from napari_liverseg.training.recipe import Recipe
from napari_liverseg.training.segmentation_recipe import (
    EarlyStopping,
    Names,
    Optimiser,
    Plateau,
)

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OwnEncoder(BaseModel):
    """The encoder of a segmentation model of this program's own kind, by its name."""

    model_config = _STRICT

    type: Literal["encoder"] = "encoder"
    of: str = Field(min_length=1)


class ResidualNetwork(BaseModel):
    """A residual network, from published weights, those of a file, or from nothing.

    Parameters
    ----------
    depth : {10, 18, 34, 50}
    width : float
        Features as a share of the original's.
    weights : str or None
        File with weights of torchvision's names, such as ImageNet's; or
        `hub_weights.HUB`.
    """

    model_config = _STRICT

    type: Literal["resnet"] = "resnet"
    depth: Literal[10, 18, 34, 50] = 50
    width: float = Field(default=1.0, gt=0, le=2)
    weights: str | None = None

    @model_validator(mode="after")
    def _is_published(self) -> Self:
        refuse_unpublished(self.weights, self.depth, self.width)
        return self


class PictureAugmentation(BaseModel):
    """How training pictures are altered, each by numbers drawn anew.

    Parameters
    ----------
    degrees : float
        Turned by up to so much either way.
    shift : float
        Moved by up to so much of a side.
    factor : tuple of float
        Stretched by a factor between the two.
    contrast : tuple of float
        Distance from the mean multiplied by a factor between the two.
    noise_sd : float
        Noise is added, of up to this standard deviation; grey runs from 0 to 1.
    mirror : bool
        Whether half of them are mirrored left to right; an abdomen has a left.
    """

    model_config = _STRICT

    degrees: float = Field(default=10, ge=0, le=180)
    shift: float = Field(default=0.05, ge=0, le=0.5)
    factor: tuple[float, float] = (0.9, 1.1)
    contrast: tuple[float, float] = (0.85, 1.15)
    noise_sd: float = Field(default=0.02, ge=0, le=1)
    mirror: bool = False

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not all(0.2 <= a <= b <= 5 for a, b in (self.factor, self.contrast)):
            msg = "factor and contrast must rise and lie between 0.2 and 5"
            raise ValueError(msg)
        return self


class ClassifierRecipe(Recipe):
    """What a training of a classifier is made of.

    Parameters
    ----------
    start : str or None
        A segmentation model whose encoder is taken instead of `backbone`.
    backbone : OwnEncoder or ResidualNetwork
    labels : Names
        Of CTs with label maps: what organ and lesion are called there.
    positive : str or None
        Of two classes the one that is looked for; None takes the one whose name does
        not say that nothing is there, see `classifier_start.positive_class`.
    test_share, validation_share : float
        Of the patients for the final test, and of the others for choosing the best
        epoch and the cut-off.
    image_size : int
        Rows and columns that the network sees.
    hu_window : tuple of float
        HU shown as black and white in DICOM slices.
    backbone_rate : float
        Learning rate of the backbone as a share of the last layer's.
    frozen_epochs : int
        First epochs, in which the last layer alone learns.
    schedule : Plateau
        Follows the loss of the validation part, as early stopping does.
    """

    kind: Literal["classification-2d"] = "classification-2d"
    folds: int = Field(default=1, ge=1, le=1)
    start: str | None = None
    backbone: Annotated[OwnEncoder | ResidualNetwork, Field(discriminator="type")] = (
        OwnEncoder(of="starter-3mm")
    )
    labels: Names = Names()
    positive: str | None = None
    test_share: float = Field(default=0.2, gt=0, le=0.5)
    validation_share: float = Field(default=0.2, gt=0, le=0.5)
    image_size: int = Field(default=256, ge=16, le=1024)
    hu_window: tuple[float, float] = ABDOMEN_WINDOW_HU
    dropout: float = Field(default=0.3, ge=0, lt=1)
    optimiser: Optimiser = Optimiser()
    backbone_rate: float = Field(default=0.1, ge=0, le=1)
    frozen_epochs: int = Field(default=3, ge=0)
    schedule: Plateau = Plateau(patience=5)
    early_stopping: EarlyStopping | None = EarlyStopping(patience=15)
    augmentation: PictureAugmentation = PictureAugmentation()
    epochs: int = Field(default=60, ge=1)
    batch: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.hu_window[0] < self.hu_window[1]:
            msg = "hu_window must rise"
            raise ValueError(msg)
        return self
