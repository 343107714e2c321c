"""The masks that a viewer shows, for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.core.segmentation import Segmentation, combine
from napari_liverseg.ui.ct_layer import PARTIAL, case_of, role
from napari_liverseg.ui.masks import ROLES, no_masks, unfinished

if TYPE_CHECKING:
    from napari import Viewer

    from napari_liverseg.core.volume import CTVolume


def read_masks(viewer: Viewer, volume: CTVolume | None = None) -> Segmentation:
    """Return the masks in a viewer's layer list as one label map on the CT's grid.

    Parameters
    ----------
    viewer : Viewer
    volume : CTVolume or None
        The case to read; None takes the case on top.

    Raises
    ------
    LiversegError
        When there is no mask, one of the two is missing, two layers claim the
        same role, or they show a part of a run.
    """
    claims = [layer for layer in reversed(viewer.layers) if role(layer) in ROLES]
    case = volume if volume is not None or not claims else case_of(claims[0])
    ours = [layer for layer in claims if case_of(layer) is case]
    if case is None or not ours:
        raise no_masks()
    by_role = {name: [la for la in ours if role(la) == name] for name in ROLES}
    for name, layers in by_role.items():
        if len(layers) != 1:
            many = " and ".join(f"'{layer.name}'" for layer in layers)
            found = f"There are two {name} masks of one CT: {many}."
            step = "Remove the copy."
            if not layers:
                found = f"The {name} mask was removed from the layer list."
                step = "Press 'Show again' in the dock, or export from there."
            raise LiversegError(found, step)
    if any(PARTIAL in layer.metadata for layer in ours):
        raise unfinished()
    liver, tumour = (np.asarray(by_role[name][0].data) for name in ROLES)
    return Segmentation(combine(liver, tumour), case.geometry)
