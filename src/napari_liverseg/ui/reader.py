"""CT and label maps through napari's own ways: drop, File > Open, viewer.open."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QApplication

from napari_liverseg.core.errors import CaseError, LiversegError
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.io.formats import is_image_file
from napari_liverseg.io.headers import claims_dicom, looks_like_dicom
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.scan import list_series
from napari_liverseg.ui import colours
from napari_liverseg.ui.ct_layer import GRID, ct_settings
from napari_liverseg.ui.masks import label_colours
from napari_liverseg.ui.series_dialog import Choice, SeriesDialog, choices, needs_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.io.series import SeriesInfo

    LayerData = tuple[Any, ...]

FILES_TO_TRY = 64
"""A folder without a CT among its first files is none of ours."""

SAME_DROP_S, REFUSED_DROP_S = 5.0, 1.0
"""How long after a file its series counts as dealt with: napari shows what was read
before it offers the next file, and what was refused may soon be tried again."""

NOTHING: list[LayerData] = [(None,)]
"""napari's word for 'read, and there is no layer to add'."""

MASK_WORDS = ("label", "mask", "seg", "truth")


class _Drop:
    """Files just read, refused or left: napari offers each of 300 slices alone."""

    files: frozenset[Path] = frozenset()
    at = lasts = 0.0

    @classmethod
    def keep(cls, series: Iterable[SeriesInfo], lasts: float) -> None:
        cls.files = frozenset(f.resolve() for s in series for f in s.files)
        cls.at, cls.lasts = time.monotonic(), lasts


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of a path, None at once for anything that is no CT.

    Parameters
    ----------
    path : str or list of str
        What napari was given; of a list the first is looked at.
    """
    first = _first(path)
    if first.is_dir():
        return read_layers if _holds_image(first) else None
    known = is_image_file(first) or first.suffix.lower() == ".zip"
    if known or looks_like_dicom(first) or claims_dicom(first):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Return a CT, or a label map, as napari layer data.

    Parameters
    ----------
    path : str or list of str
        One file of a DICOM series stands for the series.
    """
    first = _first(path).resolve()
    now = time.monotonic()
    if first in _Drop.files and now - _Drop.at < _Drop.lasts:
        _Drop.at = now
        return NOTHING
    try:
        return _read(first)
    except LiversegError as error:
        show_error(str(error))
        return NOTHING


def _read(path: Path) -> list[LayerData]:
    if not is_image_file(path):
        volume = _read_ct(path)
        return NOTHING if volume is None else [ct_layer_data(volume)]
    masks_first = any(word in path.name.lower() for word in MASK_WORDS)
    if not masks_first:
        with suppress(CaseError):  # told at the end, unless it is a label map
            volume = open_ct(path)
            if all(p.code != "not-hounsfield" for p in volume.problems):
                return [ct_layer_data(volume)]
    # Few values and no Hounsfield units: a label map, or a CT all the same.
    with suppress(CaseError):
        return _read_labels(path)
    return [ct_layer_data(open_ct(path))]


def _read_labels(path: Path) -> list[LayerData]:
    segmentation = read_label_map(path, None)
    grid = segmentation.geometry
    settings = {
        "name": path.name.partition(".")[0],
        "scale": grid.spacing_mm,
        "translate": grid.origin_mm,
        "units": ("mm", "mm", "mm"),
        "axis_labels": ("z", "y", "x"),
        "metadata": {GRID: grid},
        "colormap": label_colours(
            {LIVER: colours.TRUTH_LIVER, TUMOUR: colours.TRUTH_TUMOUR}
        ),
    }
    return [(segmentation.labels, settings, "labels")]


def _read_ct(path: Path) -> CTVolume | None:
    """Return the CT at a path, asking which series; None when the user cancels."""
    series = list_series(path)
    choice, lasts = Choice(None, ()), REFUSED_DROP_S
    try:
        if needs_choice(series) and QApplication.instance() is not None:
            chosen = SeriesDialog.ask(choices(series))
            if chosen is None:
                return None
            choice = chosen
        volume = open_ct(path, choice.series, choice.decisions)
        lasts = SAME_DROP_S
        return volume
    finally:
        _Drop.keep((s for s in series if choice.series in (None, s.uid)), lasts)


def ct_layer_data(volume: CTVolume) -> LayerData:
    """Return a CT as the layer data that napari readers hand over."""
    return (np.asarray(volume.hu), ct_settings(volume), "image")


def _holds_image(folder: Path) -> bool:
    tried = 0
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            if is_image_file(path) or looks_like_dicom(path) or claims_dicom(path):
                return True
            tried += 1
            if tried >= FILES_TO_TRY:
                return False
    return False


def _first(path: str | Sequence[str]) -> Path:
    return Path(path if isinstance(path, str) else path[0])
