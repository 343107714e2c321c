"""Which values of a data set's label maps become organ and lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError, ModelError
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.models.channels import recognise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_liverseg.training.segmentation_recipe import Names

IGNORE = "ignore"
"""What nnU-Net calls voxels that nobody has labelled."""


def label_values(labels: Mapping[str, int], wanted: Names) -> dict[int, int]:
    """Return value in the data set to value of ours: 1 organ, 2 lesion.

    Parameters
    ----------
    labels : mapping of str to int
        What the data set calls its values.
    wanted : Names
        Names to look for; without any, liver and its tumours are recognised.

    Raises
    ------
    CaseError
        When a name is not there, none means liver, or voxels are left out.
    """
    if IGNORE in {name.lower() for name in labels}:
        said = f"The data set leaves voxels out, by the label '{IGNORE}' of nnU-Net."
        step = "They would be taken for background: label them, or leave cases out."
        raise CaseError(said, step)
    if wanted.organ or wanted.lesion:
        organ, lesion = _find(labels, wanted.organ), _find(labels, wanted.lesion)
    else:
        try:
            found = recognise({value: name for name, value in labels.items()})
        except ModelError as error:
            said = f"The labels of the data set do not tell the liver: {_say(labels)}."
            step = "Name them in the recipe: labels: {organ: [...], lesion: [...]}."
            raise CaseError(said, step) from error
        organ, lesion = list(found.liver), list(found.tumour)
    return {**dict.fromkeys(organ, LIVER), **dict.fromkeys(lesion, TUMOUR)}


def _find(labels: Mapping[str, int], names: Iterable[str]) -> list[int]:
    by_name = {name.lower(): value for name, value in labels.items()}
    for name in names:
        if name.lower() not in by_name:
            said = f"The recipe names the label '{name}', which the data set lacks."
            raise CaseError(said, f"It has: {_say(labels)}.")
    return [by_name[name.lower()] for name in names]


def _say(labels: Mapping[str, int]) -> str:
    return ", ".join(labels)[:300]
