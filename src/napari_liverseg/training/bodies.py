"""The anatomies that a starter model learns from: public label maps and phantoms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.synthesis.abdomen import draw_abdomen
from napari_liverseg.synthesis.body import Body
from napari_liverseg.synthesis.completion import complete_upwards, fill_chest
from napari_liverseg.synthesis.effusion import flood_chest
from napari_liverseg.synthesis.field import grid_axes
from napari_liverseg.synthesis.relabel import relabel, split_by_hu
from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.training.prepared_case import PreparedCase

SPACING_MM = (3.0, 3.0, 3.0)
PHANTOM_SIZE_MM = (336.0, 354.0, 420.0)
PHANTOM_START_MM = (-270.0, -177.0, -210.0)
ATLAS_SCALES = (1.5, 1.8)
"""The atlas's header gives too small a spacing; its true scale lies in between."""


def phantom_body(rng: np.random.Generator, voxel_mm: float) -> Body:
    """Return a procedural abdomen on a grid of cubes, some with effusions."""
    z, y, x = (round(size / voxel_mm) for size in PHANTOM_SIZE_MM)
    spacing = (voxel_mm, voxel_mm, voxel_mm)
    axes = grid_axes((z, y, x), spacing, PHANTOM_START_MM)
    return Body(draw_abdomen(axes, rng, effusions=True), spacing)


def scan_body(ct: Path, labels: Path, names: Path, rng: np.random.Generator) -> Body:
    """Return a real CT with its whole-body label map, completed above its top.

    Parameters
    ----------
    ct, labels : Path
        Images on one grid.
    names : Path
        JSON that names the label values.
    rng : numpy.random.Generator
        Draws the domes, lungs and heart above the scan, and fluid in some chests.
    """
    hu = _at_3mm(sitk.ReadImage(itk_name(ct), sitk.sitkFloat32), sitk.sitkLinear, -1024)
    values = _at_3mm(sitk.ReadImage(itk_name(labels)), sitk.sitkNearestNeighbor, 0)
    named = {int(k): v for k, v in json.loads(names.read_text()).items()}
    tissues, known = relabel(values, named)
    hu = hu.astype(np.float32)
    body = Body(split_by_hu(tissues, known, hu), SPACING_MM, hu)
    return flood_chest(complete_upwards(body, rng), rng)


def case_body(case: PreparedCase, spacing_mm: Triple) -> Body:
    """Return a labelled case as an anatomy of which the liver alone is named.

    Parameters
    ----------
    case : PreparedCase
    spacing_mm : tuple of float
        Of its grid, ``(z, y, x)``.
    """
    hu, labels = np.array(case.hu, np.float32), np.array(case.labels)
    liver = labels >= LIVER
    tissues = split_by_hu((liver * Tissue.LIVER).astype(np.uint8), liver, hu)
    return Body(tissues, spacing_mm, hu, labels == TUMOUR, whole=False)


def atlas_body(labels: Path, names: Path, rng: np.random.Generator) -> Body:
    """Return the anatomy of a label map without CT, given a skin, fat and lungs.

    Parameters
    ----------
    labels : Path
        Label map of one abdomen by anatomists.
    names : Path
        3D Slicer colour table that names the values.
    rng : numpy.random.Generator
        Draws the scale, the fat under the skin, what lies above the top, and fluid
        in some chests.
    """
    image = sitk.ReadImage(itk_name(labels))
    scale = float(rng.uniform(*ATLAS_SCALES))
    image.SetSpacing([s * scale for s in image.GetSpacing()])
    values = _at_3mm(image, sitk.sitkNearestNeighbor, 0)
    values = np.pad(values, ((0, 0), (12, 12), (12, 12)))
    lines = (line.split() for line in names.read_text().splitlines())
    named = {int(p[0]): p[1] for p in lines if p and p[0].isdigit()}
    labelled = np.flatnonzero((values != 0).any(axis=(1, 2)))
    # The outermost slices carry next to no labels.
    values = values[labelled[0] + 1 : labelled[-1] - 1]
    tissues, known = relabel(values, named)
    wall = _closed(known, 60.0)
    fat_mm = rng.uniform(3, 30)
    skin = np.stack([_distance(~plane) < fat_mm for plane in wall])
    full = np.where(known, tissues, np.where(skin, Tissue.FAT, Tissue.AIR))
    full = full.astype(np.uint8)
    inside = np.stack([_distance(plane) > 9 for plane in wall])
    rim = wall & ~inside & ~known
    full[rim] = Tissue.MUSCLE
    fill_chest(full, inside)
    return flood_chest(complete_upwards(Body(full, SPACING_MM), rng), rng)


def _closed(known: NDArray[np.bool_], radius_mm: float) -> NDArray[np.bool_]:
    """Return each slice's labelled parts closed over gaps, holes filled."""
    planes = []
    for plane in known:
        padded = np.pad(plane, 30)
        grown = _distance(~padded) < radius_mm
        closed = _distance(grown) > radius_mm - 2
        planes.append(ndimage.binary_fill_holes(closed | padded)[30:-30, 30:-30])
    return np.stack(planes)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=SPACING_MM[1:]))


def _at_3mm(image: sitk.Image, interpolator: int, outside: float) -> NDArray[Any]:
    """Return an image's voxels in LPS order at 3 mm, shape (z, y, x)."""
    image = sitk.DICOMOrient(image, "LPS")
    spacing = SPACING_MM[::-1]
    old = zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)
    size = [max(round(n * s / new), 1) for n, s, new in old]
    resampled = sitk.Resample(
        image, size, sitk.Transform(), interpolator, image.GetOrigin(), spacing,
        image.GetDirection(), outside,
    )  # fmt: skip
    voxels: NDArray[Any] = sitk.GetArrayFromImage(resampled)
    return voxels
