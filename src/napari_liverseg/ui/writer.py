"""File > Save for masks: a label map on the voxels of the CT they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.segmentation import Segmentation, combine
from napari_liverseg.io.label_map import write_label_map
from napari_liverseg.ui.ct_layer import CASE, ROLE


def write_labels(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Write Labels layers of one case as one label map.

    Parameters
    ----------
    path : str
        Its ending names the format. napari has asked about replacing it.
    layers : list of layer data
        The liver's, the tumours', both, or a truth.

    Returns
    -------
    list of str
        The file written.

    Raises
    ------
    ExportError
        When a layer belongs to no CT, or the layers belong to several.
    """
    masks: dict[str, Any] = {}
    cases = []
    for data, settings, _ in layers:
        metadata = settings.get("metadata", {})
        cases.append(metadata.get(CASE))
        masks[metadata.get(ROLE, "")] = np.asarray(data)
    volume = cases[0]
    if volume is None or any(case is not volume for case in cases):
        found = "These layers do not belong to one CT opened with napari-liverseg."
        raise ExportError(found, "Select the Liver and Tumour layers of one case.")
    if "truth" in masks:
        labels = masks["truth"].astype(np.uint8)
    else:
        empty = np.zeros(volume.geometry.shape, np.uint8)
        labels = combine(masks.get("liver", empty), masks.get("tumour", empty))
    segmentation = Segmentation(labels, volume.geometry)
    return [str(write_label_map(Path(path), segmentation, volume, overwrite=True))]
