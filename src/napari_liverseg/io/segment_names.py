"""What the header of a label map calls its values, as 3D Slicer's `.seg.nrrd` does.

Fields: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import SimpleITK as sitk

from napari_liverseg.core.liver_words import is_liver, is_tumour, words_in_order
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.io.itk_name import itk_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAME = re.compile(r"Segment(\d+)_Name")
OF_A_MASK = ("mask", "seg", "segmentation", "label")
"""Words that programs add to what a mask shows; a 'segment' is a part of the liver."""


def segment_names(path: Path) -> dict[int, str]:
    """Return what each value is called; empty where the header does not say.

    Parameters
    ----------
    path : Path
        Of a file that can be read; only NRRD files name their values.
    """
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return {}
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    reader.ReadImageInformation()
    names = {}
    for key in reader.GetMetaDataKeys():
        number = NAME.fullmatch(key)
        value = f"Segment{number[1]}_LabelValue" if number else ""
        if value and reader.HasMetaDataKey(value):
            told = reader.GetMetaData(value).strip()
            if told.isdecimal():
                names[int(told)] = reader.GetMetaData(key).strip()
    return names


def meaning(name: str) -> int | None:
    """Return the label that a segment's name means, None where a word is not known.

    Parameters
    ----------
    name : str
        Judged by `liver_words`. Tumours may be numbered; 'Liver 3' may be a part.
    """
    words = tuple(w for w in words_in_order(name) if w not in OF_A_MASK)
    if is_liver(words):
        return LIVER
    unnumbered = [word for word in words if not word.isdecimal()]
    return TUMOUR if is_tumour(unnumbered) else None


def named_otherwise(values: Iterable[int], names: Mapping[int, str]) -> list[int]:
    """Return the values that a header calls something else than we would."""
    return [v for v in values if v in names and meaning(names[v]) != v]
