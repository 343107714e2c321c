"""From the names that label maps of whole bodies use to the tissues of this room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# The first fragment that a name contains decides, so 'splenic_vein' is a vein
# and 'adrenal' does not read as 'renal'.
_FRAGMENTS: tuple[tuple[str, Tissue], ...] = (
    ("hepatic_vein", Tissue.LIVER),
    ("hepatic_artery", Tissue.LIVER),
    ("vein", Tissue.VEIN),
    ("vena", Tissue.VEIN),
    ("adrenal", Tissue.GLAND),
    ("artery", Tissue.AORTA),
    ("celiac", Tissue.AORTA),
    ("aorta", Tissue.AORTA),
    ("kidney_cyst", Tissue.FLUID),
    ("kidney", Tissue.KIDNEY),
    ("pelvis", Tissue.FLUID),
    ("ureter", Tissue.FLUID),
    ("gallbladder", Tissue.GALLBLADDER),
    ("liver", Tissue.LIVER),
    ("spleen", Tissue.SPLEEN),
    ("stomach", Tissue.STOMACH),
    ("pancreas", Tissue.GLAND),
    ("prostate", Tissue.GLAND),
    ("lung", Tissue.LUNG),
    ("esophagus", Tissue.BOWEL),
    ("bowel", Tissue.BOWEL),
    ("duodenum", Tissue.BOWEL),
    ("colon", Tissue.BOWEL),
    ("bladder", Tissue.FLUID),
    ("cartilage", Tissue.CARTILAGE),
    ("disc", Tissue.CARTILAGE),
    ("heart", Tissue.HEART),
    ("spinal_cord", Tissue.SOFT),
    ("vertebra", Tissue.BONE),
    ("thoracic", Tissue.BONE),
    ("lumbar", Tissue.BONE),
    ("sacrum", Tissue.BONE),
    ("rib", Tissue.CORTEX),
    ("hip", Tissue.BONE),
    ("femur", Tissue.BONE),
    ("sternum", Tissue.BONE),
    ("muscle", Tissue.MUSCLE),
    ("gluteus", Tissue.MUSCLE),
    ("autochthon", Tissue.MUSCLE),
    ("iliopsoas", Tissue.MUSCLE),
)

GAS_BELOW_HU, FAT_BELOW_HU, SOFT_BELOW_HU = -200, -20, 130
"""Hounsfield limits that split the unlabelled body into gas, fat, soft tissue, bone."""


def relabel(
    labels: NDArray[np.integer], names: Mapping[int, str]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the tissue of every labelled voxel, and which voxels have one.

    Parameters
    ----------
    labels : ndarray of int, shape (z, y, x)
    names : mapping of int to str
        What each value is called; unknown names count as unlabelled.
    """
    tissues = np.zeros(labels.shape, np.uint8)
    known = np.zeros(labels.shape, np.bool_)
    for value in np.unique(labels):
        tissue = _tissue_of(names.get(int(value), ""))
        if tissue is not None:
            mask = labels == value
            tissues[mask], known[mask] = tissue, True
    return tissues, known


def split_by_hu(
    tissues: NDArray[np.uint8], known: NDArray[np.bool_], hu: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the tissues with every unlabelled voxel named by its Hounsfield units.

    Air in labelled bowel and stomach becomes gas; dense matter outside the
    body becomes table.
    """
    body = _body(hu)
    rest = body & ~known
    limits = [GAS_BELOW_HU, FAT_BELOW_HU, SOFT_BELOW_HU]
    by_hu = np.array([Tissue.GAS, Tissue.FAT, Tissue.MUSCLE, Tissue.BONE], np.uint8)
    full = np.where(known, tissues, Tissue.AIR).astype(np.uint8)
    full[rest] = by_hu[np.digitize(hu[rest], limits)]
    hollow = np.isin(full, [Tissue.BOWEL, Tissue.STOMACH])
    full[hollow & (hu < GAS_BELOW_HU)] = Tissue.GAS
    full[~body & ~known & (hu > -700)] = Tissue.TABLE
    return full


def _tissue_of(name: str) -> Tissue | None:
    lower = name.lower()
    return next((tissue for part, tissue in _FRAGMENTS if part in lower), None)


def _body(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the largest dense component with its holes filled, slice by slice."""
    components, count = ndimage.label(ndimage.binary_opening(hu > -300))
    if count == 0:
        return np.zeros(hu.shape, np.bool_)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    body = components == int(sizes.argmax())
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])
