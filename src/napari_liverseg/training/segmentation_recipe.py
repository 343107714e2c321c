"""The recipe of a 3-D network that segments an organ and its lesions."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_liverseg.models.spec import AnyNetwork
from napari_liverseg.training.augmentation import Augmentation
from napari_liverseg.training.recipe import Recipe

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

TUMOUR_WEIGHT = 2.0
"""How often the cross-entropy of the loss `liver-tumour` counts a voxel of tumour."""


class Names(BaseModel):
    """Which labels of the data set are meant, by their names there.

    Parameters
    ----------
    organ, lesion : tuple of str
        Compared without regard to case. Empty: names that mean liver and liver
        tumour are recognised.
    """

    model_config = _STRICT

    organ: tuple[str, ...] = ()
    lesion: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_organ(self) -> Self:
        if self.lesion and not self.organ:
            msg = "organ must be named where lesion is"
            raise ValueError(msg)
        organ = {name.lower() for name in self.organ}
        if any(name.lower() in organ for name in self.lesion):
            msg = "a label cannot be both organ and lesion"
            raise ValueError(msg)
        return self


class Sampling(BaseModel):
    """Where patches are cut: the shares centred at lesions and organ, else anywhere."""

    model_config = _STRICT

    lesion: float = Field(default=1 / 3, ge=0, le=1)
    organ: float = Field(default=1 / 3, ge=0, le=1)

    @model_validator(mode="after")
    def _is_share(self) -> Self:
        if self.lesion + self.organ > 1:
            msg = "the shares of lesion and organ are more than 1 together"
            raise ValueError(msg)
        return self


class Drawn(BaseModel):
    """Patches that are drawn instead of cut from cases, see `DrawnPatches`.

    Parameters
    ----------
    share : float
        Of all patches.
    phantom_mm : float
        Voxel size of the phantoms' anatomy; the public ones have 3 mm.
    inside : float
        Share of them that are centred in the liver. Of the others most are centred
        near its box.
    public : str or None
        Folder with ``abdomen-3mm`` (two CTs with whole-body labels) and ``atlas`` (a
        label map of one abdomen), which are drawn beside phantoms.
    cases : float
        Share of them whose anatomy is that of a case that trains: its CT, altered as
        the public ones are, with tumours planted beside those that are labelled.
    """

    model_config = _STRICT

    share: float = Field(default=0.75, gt=0, le=1)
    phantom_mm: float = Field(default=3.0, ge=1, le=20)
    inside: float = Field(default=0.0, ge=0, le=1)
    public: str | None = None
    cases: float = Field(default=0.0, ge=0, le=1)


class Optimiser(BaseModel):
    """Adam or AdamW at its highest learning rate."""

    model_config = _STRICT

    type: Literal["adam", "adamw"] = "adamw"
    rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)


class Cosine(BaseModel):
    """The rate rises over the first steps, then falls to 0 along a cosine."""

    model_config = _STRICT

    type: Literal["cosine"] = "cosine"
    warm_up_steps: int = Field(default=100, ge=0)


class Plateau(BaseModel):
    """The rate falls by `factor` once the Dice has not risen for `patience` epochs."""

    model_config = _STRICT

    type: Literal["plateau"] = "plateau"
    factor: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=10, ge=0)
    lowest: float = Field(default=1e-6, ge=0)


class EarlyStopping(BaseModel):
    """Training ends once the Dice has not risen by `least` for `patience` epochs."""

    model_config = _STRICT

    patience: int = Field(default=40, ge=1)
    least: float = Field(default=1e-4, ge=0)


Schedule = Annotated[Cosine | Plateau, Field(discriminator="type")]


class SegmentationRecipe(Recipe):
    """What a training of a 3-D segmentation network is made of.

    Parameters
    ----------
    labels : Names
    drawn : Drawn or None
        None trains on cases alone.
    smallest_lesion_ml : float or None
        Lesions below it are taken for organ in the model's result; None cleans as
        `start` does.
    start : str or None
        Model of this program's own kind whose weights are the first ones; where it
        has two stages, those of the second, and the first stays.
    spacing_mm, patch, network : or None
        Voxels, window and layers of the network, ``(z, y, x)``; None takes those
        of `start`.
    hu_window : tuple of float or None
        HU that the network tells apart; None takes the window of `start`, or soft
        tissue.
    overlap : float or None
        Share of a window that the next one covers; None takes that of `start`, or
        half.
    loss : {'dice+cross-entropy', 'dice', 'liver-tumour'}
        The last is `loss.liver_tumour_loss`.
    epochs, steps_per_epoch, batch : int
        An epoch is so many steps, each of so many patches on every device.
    validate_every : int
        Epochs between two looks at the held-out cases.
    gradient_clip : float or None
        Largest norm of a gradient.
    precision : {'auto', 'fp32', 'bf16', 'fp16'}
        ``auto`` is bf16 on a GPU that has it, else fp32.
    ema : float or None
        How much of itself the running average of the weights keeps at each step;
        None does without.
    """

    kind: Literal["segmentation-3d"] = "segmentation-3d"
    labels: Names = Names()
    drawn: Drawn | None = None
    smallest_lesion_ml: float | None = Field(default=None, ge=0)
    start: str | None = None
    spacing_mm: tuple[float, float, float] | None = None
    patch: tuple[int, int, int] | None = None
    network: AnyNetwork | None = None
    hu_window: tuple[float, float] | None = None
    overlap: float | None = Field(default=None, ge=0, le=0.9)
    loss: Literal["dice+cross-entropy", "dice", "liver-tumour"] = "dice+cross-entropy"
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Cosine()
    early_stopping: EarlyStopping | None = EarlyStopping()
    sampling: Sampling = Sampling()
    augmentation: Augmentation = Augmentation()
    epochs: int = Field(default=300, ge=1)
    steps_per_epoch: int = Field(default=250, ge=1)
    batch: int = Field(default=2, ge=1)
    validate_every: int = Field(default=1, ge=1)
    gradient_clip: float | None = Field(default=5.0, gt=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    ema: float | None = Field(default=0.998, gt=0, lt=1)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = (self.spacing_mm, self.patch, self.network)
        if self.start is None and None in given:
            msg = "without a start, spacing_mm, patch and network must be given"
            raise ValueError(msg)
        organs = {name.lower() for name in self.labels.organ}
        if self.drawn and organs and organs != {"liver"}:
            msg = "drawn images show livers, and labels.organ asks for another organ"
            raise ValueError(msg)
        return self
