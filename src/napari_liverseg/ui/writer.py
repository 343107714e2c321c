"""File > Save for masks: a label map on the voxels of the CT they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.segmentation import LABELS, Segmentation, combine
from napari_liverseg.io.label_map import write_label_map
from napari_liverseg.ui.ct_layer import CASE, PARTIAL, ROLE
from napari_liverseg.ui.masks import unfinished

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.volume import CTVolume

    LayerData = tuple[Any, dict[str, Any], str]

ONE_LABEL_MAP = (["liver"], ["tumour"], ["liver", "tumour"], ["truth"])


def write_labels(path: str, layers: list[LayerData]) -> list[str]:
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
        When a layer belongs to no CT, the layers belong to several, they are not
        the masks of one label map, or a truth holds a value of no meaning.
    LiversegError
        When they show a part of a run.
    """
    volume = _case(layers)
    if any(PARTIAL in settings["metadata"] for _, settings, _ in layers):
        raise unfinished()
    masks = _by_role(layers)
    for data in masks.values():
        if data.shape != volume.geometry.shape:
            found = "A layer no longer has the voxels of its CT."
            raise ExportError(found, "Open the CT again and save from the dock.")
    if "truth" in masks:
        labels = masks["truth"].astype(np.uint8)
        if not np.isin(np.unique(masks["truth"]), list(LABELS.values())).all():
            found = "The truth holds other values than 0, 1 and 2."
            raise ExportError(
                found, "Paint liver as 1 and tumour as 2, and save again."
            )
    else:
        empty = np.zeros(volume.geometry.shape, np.uint8)
        labels = combine(masks.get("liver", empty), masks.get("tumour", empty))
    segmentation = Segmentation(labels, volume.geometry)
    return [str(write_label_map(Path(path), segmentation, volume, overwrite=True))]


def _case(layers: list[LayerData]) -> CTVolume:
    cases = [settings.get("metadata", {}).get(CASE) for _, settings, _ in layers]
    volume: CTVolume | None = cases[0]
    if volume is None or any(case is not volume for case in cases):
        found = "These layers do not belong to one CT opened with napari-liverseg."
        raise ExportError(found, "Select the Liver and Tumour layers of one case.")
    return volume


def _by_role(layers: list[LayerData]) -> dict[str, NDArray[Any]]:
    """Return the masks by what they are, when they make one label map."""
    roles = [str(settings["metadata"].get(ROLE, "")) for _, settings, _ in layers]
    if sorted(roles) not in ONE_LABEL_MAP:
        names = " and ".join(f"'{settings.get('name')}'" for _, settings, _ in layers)
        found = f"The layers {names} do not make one label map."
        step = "Select Liver, Tumour, both of them, or one truth alone."
        raise ExportError(found, step)
    arrays = (np.asarray(data) for data, _, _ in layers)
    return dict(zip(roles, arrays, strict=True))
