"""Vessels of a liver as trees: portal veins from the hilum, hepatic veins to the cava.

A tree grows over random points in the liver: the point that is nearest to the tree is
joined first, where a long way back to the root counts as distance too [1]_. The radii
follow Murray's law: the cube of a vessel's is the sum of its branches' cubes [2]_.

References
----------
.. [1] Cuntz et al., One rule to grow them all, PLoS Computational Biology 6(8), 2010.
.. [2] Murray, The physiological principle of minimum work, PNAS 12(3), 1926.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.field import box_between, cut_axes
from napari_liverseg.synthesis.shape import tube
from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.appearance import Palette
    from napari_liverseg.synthesis.field import Axes, Point

ML_PER_END = 4.0
"""Liver that one end of a tree supplies, about."""

MOST_ENDS = 350

WAY_BACK = (0.3, 0.9)
"""How much of its way back to the root counts as a point's distance: more makes
straighter vessels, which part earlier."""

ROOT_MM = {"portal": (4.0, 10.0), "hepatic": (4.5, 10.0)}
"""Radii of the vessels where a whole liver's trees begin."""

WHOLE_ML = 1200.0
"""A liver of which less is seen has thinner roots: their cubes shrink with it."""

LEAST_MM = 0.5
"""Thinner vessels are not seen."""

ARTERIAL_HEPATIC_HU = (-25.0, 8.0)
"""Contrast of hepatic veins to the liver while contrast medium arrives."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A tree of straight vessels; each point but the first ends one.

    Parameters
    ----------
    points_mm : ndarray of float64, shape (n, 3)
        ``(z, y, x)``, the root first; none before the one it branches from.
    parents : ndarray of int64, shape (n,)
        Index of the point that each branches from; the root's own for the root.
    radii_mm : ndarray of float64, shape (n,)
        Of the vessel that ends at each point.
    """

    points_mm: NDArray[np.float64]
    parents: NDArray[np.int64]
    radii_mm: NDArray[np.float64]


def add_vessel_trees(
    hu: NDArray[np.float32],
    tissues: NDArray[np.uint8],
    axes_mm: Axes,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Draw portal and hepatic veins into the liver of an image, in place.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        Changed inside the liver.
    tissues : ndarray of uint8
        Where the liver touches a vein of the hilum or the cava, the trees begin.
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x; z ascends to the head, y to the back.
    palette : Palette
        Of the image.
    rng : numpy.random.Generator
    """
    liver = tissues == Tissue.LIVER
    veins = _contrasts(palette, rng)
    inside = np.argwhere(liver)
    if len(inside) < 200:
        return
    for name, root in _roots(tissues, liver, inside, rng).items():
        least, most = ROOT_MM[name]
        if palette.has_fat_vessels:
            least = (least + most) / 2
        tree = grow(root, inside, axes_mm, (least, most), rng)
        hu += np.float32(veins[name]) * render_tree(tree, axes_mm) * liver


def _contrasts(palette: Palette, rng: np.random.Generator) -> dict[str, float]:
    """Draw how much brighter than the liver each tree is."""
    veins = float(palette.hu[Tissue.VEIN] - palette.hu[Tissue.LIVER])
    if palette.phase == "arterial":
        hepatic = rng.uniform(*ARTERIAL_HEPATIC_HU)
    else:
        hepatic = veins * rng.uniform(-0.1, 1.1)
    return {"portal": veins * rng.uniform(0.7, 1.1), "hepatic": hepatic}


def _roots(
    tissues: NDArray[np.uint8],
    liver: NDArray[np.bool_],
    inside: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """Choose the voxels where the trees begin.

    The highest contacts of liver and vein are the cava's, those most in front the
    portal vein's. A patch that shows none has its roots anywhere.
    """
    contact = np.argwhere(liver & ndimage.binary_dilation(tissues == Tissue.VEIN))
    if len(contact) < 20:
        portal, hepatic = inside[rng.integers(len(inside), size=2)]
        return {"portal": portal, "hepatic": hepatic}
    high = contact[contact[:, 0] >= np.quantile(contact[:, 0], 0.9)]
    front = contact[contact[:, 1] <= np.quantile(contact[:, 1], 0.2)]
    return {"portal": rng.choice(front), "hepatic": rng.choice(high)}


def grow(
    root: NDArray[np.int64],
    inside: NDArray[np.int64],
    axes_mm: Axes,
    root_mm: tuple[float, float],
    rng: np.random.Generator,
) -> Tree:
    """Grow a tree from a voxel over a liver.

    Parameters
    ----------
    root : ndarray of int64, shape (3,)
        Voxel where the tree begins.
    inside : ndarray of int64, shape (n, 3)
        Voxels of the liver.
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    root_mm : tuple of float
        Least and largest radius of the root in a whole liver.
    rng : numpy.random.Generator
    """
    voxel_mm = [float(a[1] - a[0]) for a in axes_mm]
    ml = len(inside) * float(np.prod(voxel_mm)) / 1000
    ends = int(np.clip(ml / ML_PER_END * rng.uniform(0.5, 1.5), 8, MOST_ENDS))
    voxels = np.concatenate([root[None], inside[rng.integers(len(inside), size=ends)]])
    points = np.stack([a[i] for a, i in zip(axes_mm, voxels.T, strict=True)], 1)
    points = points.astype(np.float64)
    points[1:] += (rng.random((ends, 3)) - 0.5) * voxel_mm
    points, parents = _join(points, rng.uniform(*WAY_BACK))
    thick = rng.uniform(*root_mm) * min(ml / WHOLE_ML, 1.0) ** (1 / 3)
    carried = np.ones(len(points))
    carried[0] = 0
    for point in range(len(points) - 1, 0, -1):
        carried[parents[point]] += carried[point]
    # A vessel between two joints is as thick as what it supplies.
    radii = thick * (carried / carried[0]) ** (1 / 3)
    return Tree(_smooth(points, parents, carried), parents, radii)


def _join(
    points: NDArray[np.float64], way_back: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points in the order they were joined, and whom each was joined to."""
    count = len(points)
    order, place = [0], np.zeros(count, np.int64)
    nearest = np.zeros(count, np.int64)
    way = np.zeros(count)
    reach = np.linalg.norm(points - points[0], axis=1)
    cost = reach.copy()
    cost[0] = np.inf
    for _ in range(count - 1):
        new = int(np.argmin(cost))
        cost[new] = np.inf
        place[new] = len(order)
        order.append(new)
        way[new] = way[nearest[new]] + reach[new]
        distance = np.linalg.norm(points - points[new], axis=1)
        better = (distance + way_back * way[new] < cost) & np.isfinite(cost)
        cost[better] = (distance + way_back * way[new])[better]
        reach[better], nearest[better] = distance[better], new
    return points[order], place[nearest[order]]


def _smooth(
    points: NDArray[np.float64],
    parents: NDArray[np.int64],
    carried: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Draw each point towards the line from its parent to its thickest branch."""
    main = np.arange(len(points))
    largest = np.zeros(len(points))
    for point in range(1, len(points)):
        if carried[point] > largest[parents[point]]:
            main[parents[point]], largest[parents[point]] = point, carried[point]
    for _ in range(2):
        middle = (points[parents] + points[main]) / 2
        middle[main == np.arange(len(points))] = points[main == np.arange(len(points))]
        middle[0] = points[0]
        points = (points + middle) / 2
    return points


def render_tree(tree: Tree, axes_mm: Axes) -> NDArray[np.float32]:
    """Return how much of each voxel a tree fills, from 0 to 1.

    Parameters
    ----------
    tree : Tree
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    level = np.zeros([len(a) for a in axes_mm], np.float32)
    edge = np.float32(np.mean([a[1] - a[0] for a in axes_mm]))
    for point in range(1, len(tree.points_mm)):
        radius = float(tree.radii_mm[point])
        if radius < LEAST_MM:
            continue
        start, end = (_point(tree.points_mm[i]) for i in (tree.parents[point], point))
        reach = radius + float(edge)
        box = box_between(
            axes_mm,
            _point(np.minimum(start, end) - reach),
            _point(np.maximum(start, end) + reach),
        )
        if any(s.stop <= s.start for s in box):
            continue
        distance = tube(cut_axes(axes_mm, box), [start, end], 1.0)
        part = np.clip((np.float32(radius) - distance) / edge + 0.5, 0, 1)
        np.maximum(level[box], part, out=level[box])
    return level


def _point(zyx: NDArray[np.float64]) -> Point:
    z, y, x = (float(v) for v in zyx)
    return z, y, x
