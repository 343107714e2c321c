"""Two models run as one: the first finds the liver, the second looks closely there."""

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.folder_spec import STRICT, Figure
from napari_liverseg.models.foreign_file import first_fault, read_json, refused

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_liverseg.models.contract import Input, Model, Output, Windows
    from napari_liverseg.models.spec import ModelSpec

TWO_STAGE_FILE = "two-stage.json"
MAX_BYTES = 100_000

FINDER, DETAIL = "finder", "detail"
"""Folders of the two models in a copy of both."""

LiverFrom = Literal["both", "finder"]

LIVER_COUNTS, TUMOUR_COUNTS = 2, 4
"""How often the second model's probabilities count beside the finder's, where both say
what is liver: it sees outlines and small lesions, the finder sees what surrounds them.
"""

HINT = 0.2
"""The finder's probability of liver below which both count the same: the second moves
outlines, but a spleen that looks like liver to it is none."""

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""What a model of two stages may be called, as a regular expression."""

_PART = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


class TwoStageSpec(BaseModel):
    """What `two-stage.json` says.

    Parameters
    ----------
    name, title, notice, version : str
        See `ModelSpec`.
    finder, detail : str
        Folders of the two models, in this one or beside it.
    liver : {'both', 'finder'}
        See `TwoStage`.
    figures : tuple of Figure
        Measured quality of both together, each with its source.
    """

    model_config = STRICT

    format: Literal[1] = 1
    name: str = Field(pattern=NAME)
    title: str = Field(min_length=1)
    notice: str = ""
    version: str = Field(min_length=1)
    finder: str = _PART
    detail: str = _PART
    liver: LiverFrom = "both"
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, eq=False)
class TwoStage:
    """A model that finds the liver and one that is run on the box around it.

    What is not listed here is the second's, see `contract.Model`.

    Parameters
    ----------
    finder : Model
        Sees the whole body and knows the liver.
    detail : Model
        Sees the liver's box and knows tumours; the liver, where `liver` says so.
    liver : {'both', 'finder'}
        Whether liver and tumour are means of both probabilities, or the liver is
        the finder's, with the second's tumours that touch it.
    """

    name: str
    title: str
    notice: str
    version: str
    folder: "Path"
    finder: "Model"
    detail: "Model"
    liver: LiverFrom
    figures: tuple[Figure, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of both models' hashes, in hex."""
        seen = f"{self.finder.input} {self.liver}"  # weights alone do not decide
        both = f"{self.finder.sha256} {self.detail.sha256} {seen}"
        return hashlib.sha256(both.encode()).hexdigest()

    @property
    def joining(self) -> tuple[float, ...]:
        """What decides how both are joined, beside `liver`."""
        return (LIVER_COUNTS, TUMOUR_COUNTS, HINT) if self.liver == "both" else ()

    @property
    def card(self) -> str:
        """What both models say of themselves."""
        first = f"{self.title}, version {self.version}"
        parts = [first, self.notice, *(figure.line for figure in self.figures)]
        parts += ["", "Finds the liver:", self.finder.card]
        parts += ["", "Looks closely there:", self.detail.card]
        return "\n".join(parts)

    @property
    def files(self) -> "dict[str, Path]":
        """Those of both models, wherever they lie."""
        both = ((FINDER, self.finder), (DETAIL, self.detail))
        return {
            f"{part}/{name}": path
            for part, model in both
            for name, path in model.files.items()
        }

    @property
    def layers(self) -> str:
        """Both networks."""
        return f"{self.finder.layers} {self.detail.layers}"

    @property
    def input(self) -> "Input":
        """What the second model expects of a CT."""
        return self.detail.input

    @property
    def windows(self) -> "Windows":
        """How the second model is moved over the liver's box."""
        return self.detail.windows

    @property
    def output(self) -> "Output":
        """What the second model's channels mean."""
        return self.detail.output

    @property
    def post_processing(self) -> PostProcessing:
        """Liver and tumours hang together; each is cleaned as its own model's are."""
        fill = self.finder.post_processing.fill_holes_cm2
        smallest = self.detail.post_processing.smallest_tumour_ml
        return PostProcessing(True, fill, smallest)

    def load_networks(self) -> tuple["torch.nn.Module", ...]:
        """Return the second model's networks."""
        return self.detail.load_networks()

    def with_detail(self, spec: "ModelSpec", folder: "Path") -> "TwoStage":
        """Return the same first stage with another second one.

        Parameters
        ----------
        spec : ModelSpec
            The second one; name, title, notice, version and figures are the whole's.
        folder : Path
            Where the whole lies, or will.
        """
        own = {
            "name": f"{spec.name:.57}-detail",
            "title": f"{spec.title}, second stage",
            "figures": (),
        }
        return replace(
            self,
            name=spec.name,
            title=spec.title,
            notice=spec.notice,
            version=spec.version,
            folder=folder,
            detail=spec.model_copy(update=own),
            figures=spec.figures,
        )


def stages_of(model: "Model") -> "tuple[Model, ...]":
    """Return the two stages of a model, or the model itself where it has but one."""
    return (model.finder, model.detail) if isinstance(model, TwoStage) else (model,)


def is_tumours_alone(model: "Model") -> bool:
    """Whether a model knows tumours of the liver, but no liver to look for them in."""
    return not model.output.liver


def in_liver_of(finder: "Model", detail: "Model") -> TwoStage:
    """Return a model of tumours alone as one that first finds the liver."""
    return TwoStage(
        name=detail.name,
        title=f"{detail.title}, in the liver of {finder.title}",
        notice=" ".join(dict.fromkeys((detail.notice, finder.notice))),
        version=detail.version,
        folder=detail.folder,
        finder=finder,
        detail=detail,
        liver="finder",
    )


def read_two_stage(folder: "Path") -> TwoStage:
    """Read and check a two-stage model, without its weights.

    Parameters
    ----------
    folder : Path
        Holds `two-stage.json`; the two models lie in it or beside it.

    Raises
    ------
    ModelError
        When it is not what it should be, or one of the two cannot be used.
    """
    folder = folder.resolve()
    raw = read_json(folder, TWO_STAGE_FILE, MAX_BYTES)
    try:
        spec = TwoStageSpec.model_validate(raw)
    except ValidationError as error:
        raise refused(TWO_STAGE_FILE, first_fault(error)) from error
    finder, detail = (_part(folder, name) for name in (spec.finder, spec.detail))
    if is_tumours_alone(finder):
        raise refused(TWO_STAGE_FILE, f"its finder '{spec.finder}' knows no liver")
    if spec.liver == "both" and (is_tumours_alone(detail) or not finder.output.tumour):
        reason = "its models do not both know liver and tumour, so as to be averaged"
        raise refused(TWO_STAGE_FILE, reason, 'Write "liver": "finder".')
    if not detail.output.tumour:
        raise refused(TWO_STAGE_FILE, f"its second '{spec.detail}' knows no tumour")
    return TwoStage(
        spec.name, spec.title, spec.notice, spec.version, folder, finder, detail,
        spec.liver, spec.figures,
    )  # fmt: skip


def _part(folder: "Path", name: str) -> "Model":
    from napari_liverseg.models.kinds import place_of

    for at in (folder / name, folder.parent / name):
        place = place_of(at) if at.is_dir() and at != folder else None
        if place is None:
            continue
        model = place[0].read(place[1])
        if isinstance(model, TwoStage):
            raise refused(TWO_STAGE_FILE, f"its part '{name}' has two stages itself")
        return model
    found = f"{folder} names the model '{name}', which lies neither in it nor beside."
    raise ModelError(found, f"Put the folder of '{name}' into it.")
