"""The body around the organs: skin, fat, muscles, skeleton, diaphragm, chest, table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.synthesis.field import smooth_field
from napari_liverseg.synthesis.shape import ellipsoid
from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.canvas import Canvas


@dataclass(frozen=True, eq=False)
class Torso:
    """The room that a body leaves for its organs.

    Parameters
    ----------
    half_width_mm, half_depth_mm : float
        Half axes of the abdominal cavity, left to right and front to back.
    spine_y_mm : float
        Where the vertebral bodies' centres lie, +y posterior.
    cavity : ndarray of bool, shape (z, y, x)
        Inside of the abdominal and thoracic wall.
    dome_mm : ndarray of float32, shape (1, y, x)
        Height z of the diaphragm.
    """

    half_width_mm: float
    half_depth_mm: float
    spine_y_mm: float
    cavity: NDArray[np.bool_]
    dome_mm: NDArray[np.float32]


def draw_torso(canvas: Canvas) -> Torso:
    """Paint a torso with chest and skeleton, its cavity filled with fat."""
    fat = float(np.exp(canvas.draw(np.log(3), np.log(38))))
    wall = canvas.draw(9, 19)
    inside_width = canvas.draw(112, 150)
    inside_depth = inside_width * canvas.draw(0.62, 0.82)
    half_width, half_depth = inside_width + fat + wall, inside_depth + fat + wall
    depth = _depth_under_skin(canvas, half_width, half_depth)
    inner = depth - _fat_layer(canvas, fat, half_depth)
    canvas.paint(depth > 0, Tissue.FAT)
    canvas.paint((depth > 0) & (depth < 2), Tissue.SOFT)
    canvas.paint(inner > 0, Tissue.MUSCLE)
    cavity = inner > wall
    canvas.paint(cavity, Tissue.FAT)
    spine_y = inside_depth * canvas.draw(0.5, 0.62)
    dome = _diaphragm(canvas, inside_width, inside_depth)
    torso = Torso(inside_width, inside_depth, spine_y, cavity, dome)
    _chest(canvas, torso)
    _ribs(canvas, inner, wall)
    _spine(canvas, torso)
    _table_and_arms(canvas, half_width, half_depth)
    return torso


def _depth_under_skin(
    canvas: Canvas, half_width: float, half_depth: float
) -> NDArray[np.float32]:
    """Radial distance from the skin in mm, positive inside a superellipse."""
    power = canvas.draw(2.1, 2.9)
    rho = (
        np.abs(canvas.x / half_width) ** power + np.abs(canvas.y / half_depth) ** power
    ) ** (1 / power)
    radius = np.sqrt(canvas.x**2 + canvas.y**2)
    depth = radius * (1 / np.maximum(rho, 1e-3) - 1)
    waist = canvas.draw(-0.04, 0.06) * canvas.z + 2 * canvas.field(90)
    return np.asarray(depth + waist, np.float32)


def _fat_layer(canvas: Canvas, fat: float, half_depth: float) -> NDArray[np.float32]:
    """Thickness of the subcutaneous fat: more in front and towards the pelvis."""
    front = 1 - canvas.draw(0.0, 0.5) * canvas.y / half_depth
    lower = np.clip(1 - canvas.z / 400, 0.7, 1.6)
    return np.asarray(fat * front * lower, np.float32)


def _diaphragm(
    canvas: Canvas, half_width: float, half_depth: float
) -> NDArray[np.float32]:
    """Two domes and the heart's floor between them, as height over (y, x)."""
    x, y = canvas.x / half_width, canvas.y / half_depth

    def dome(top: float, x0: float, y0: float, drop: float) -> NDArray[np.float32]:
        wide, deep = canvas.draw(0.48, 0.62), canvas.draw(0.8, 1.1)
        steep = canvas.draw(2.0, 3.5)
        radius = np.sqrt(((x - x0) / wide) ** 2 + ((y - y0) / deep) ** 2)
        return np.asarray(top - drop * radius**steep, np.float32)

    right = dome(
        0.0, canvas.draw(-0.52, -0.42), canvas.draw(-0.1, 0.1), canvas.draw(55, 100)
    )
    left = dome(
        canvas.draw(-30, -2),
        canvas.draw(0.42, 0.55),
        canvas.draw(-0.1, 0.1),
        canvas.draw(55, 100),
    )
    # The heart lies on a shallow saddle, nowhere flat.
    floor, crest = canvas.draw(-32, -8), canvas.draw(-0.35, 0.05)
    middle = floor - 30 * (np.abs(x - 0.05) / 0.45) ** 3
    middle = middle - canvas.draw(15, 40) * (y - crest) ** 2
    heights = np.maximum(np.maximum(right, left), middle)
    z_axis, y_axis, x_axis = canvas.axes_mm
    ripples = smooth_field((z_axis[:1], y_axis, x_axis), 35.0, canvas.rng)
    return np.asarray(heights + 1.5 * ripples, np.float32)


def _chest(canvas: Canvas, torso: Torso) -> None:
    """Paint lungs above the diaphragm, and heart and mediastinum between them."""
    above = torso.cavity & (canvas.z > torso.dome_mm)
    canvas.paint(above, Tissue.LUNG)
    width = canvas.draw(22, 42) + 4 * canvas.field(50)
    middle = (
        above
        & (np.abs(canvas.x - 5) < width)
        & (canvas.y > -0.85 * torso.half_depth_mm)
    )
    canvas.paint(middle, Tissue.FAT)
    rim = canvas.draw(0, 7)
    depth, height = canvas.draw(40, 58), canvas.draw(35, 55)
    centre = (
        float(torso.dome_mm.max()) + height * canvas.draw(0.35, 0.9) - 15,
        -torso.half_depth_mm * canvas.draw(0.2, 0.45),
        canvas.draw(12, 40),
    )
    radii = (height, depth, canvas.draw(48, 70))
    turns = (canvas.draw(-40, 0), canvas.draw(-15, 15), canvas.draw(-10, 10))
    heart = ellipsoid(canvas.axes_mm, centre, radii, turns) + 0.06 * canvas.field(30)
    canvas.paint(above & (heart < 1 + (rim + 3) / depth), Tissue.FAT)
    on_floor = above & (canvas.z > torso.dome_mm + canvas.draw(0, 1) * rim)
    canvas.paint(on_floor & (heart < 1), Tissue.HEART)
    if canvas.rng.random() < 0.12:
        level = canvas.draw(0.3, 0.7) * torso.half_depth_mm
        side = canvas.x < 0 if canvas.rng.random() < 0.6 else canvas.x > 0
        canvas.paint(
            canvas.where(Tissue.LUNG) & (canvas.y > level) & side, Tissue.FLUID
        )


def _ribs(canvas: Canvas, inner: NDArray[np.float32], wall: float) -> None:
    """Paint ribs that fall towards the front, cartilage near the midline."""
    period, slope = canvas.draw(26, 36), canvas.draw(0.3, 0.75)
    along = canvas.z - slope * canvas.y + canvas.draw(0, period)
    thick = canvas.draw(8, 13)
    in_wall = (inner > 0.15 * wall) & (inner < 0.15 * wall + canvas.draw(6, 10))
    ring = np.abs((along % period) - period / 2)
    cage = canvas.z - 0.8 * canvas.y > canvas.draw(-150, -60)
    shell = in_wall & (ring < thick / 2) & cage
    front = (canvas.y < 0) & (np.abs(canvas.x) < canvas.draw(60, 95))
    canvas.paint(shell & ~front, Tissue.CORTEX)
    canvas.paint(shell & ~front & (ring < thick / 2 - 2.5), Tissue.BONE)
    if canvas.rng.random() < 0.8:
        canvas.paint(shell & front & (np.abs(canvas.x) > 15), Tissue.CARTILAGE)


def _spine(canvas: Canvas, torso: Torso) -> None:
    """Paint vertebrae with discs, canal and processes, and the muscles beside them."""
    x, y = canvas.x, canvas.y - np.float32(torso.spine_y_mm)
    period, disc = canvas.draw(28, 38), canvas.draw(5, 9)
    for side in (-1, 1):
        beside = ((x - side * 30) / 27) ** 2 + ((y - 38) / 22) ** 2 < 1
        canvas.paint((canvas.z < 400) & beside, Tissue.MUSCLE)
        psoas = ((x - side * 40) / 17) ** 2 + (y / 20) ** 2 < 1
        canvas.paint((canvas.z < canvas.draw(-140, -100)) & psoas, Tissue.MUSCLE)
    width, depth = canvas.draw(19, 26), canvas.draw(15, 20)
    body = np.sqrt((x / width) ** 2 + (y / depth) ** 2)
    level = (canvas.z + canvas.draw(0, period)) % period
    canvas.paint((body < 1) & (level >= 0), Tissue.CORTEX)
    canvas.paint((body < 0.88) & (level >= 0), Tissue.BONE)
    canvas.paint((body < 1) & (level < disc), Tissue.CARTILAGE)
    arch = np.sqrt((x / 17) ** 2 + ((y - depth - 9) / 15) ** 2)
    processes = (np.abs(x) < 4) & (y > depth + 10) & (y < depth + 42)
    processes = processes | ((np.abs(y - depth - 8) < 5) & (np.abs(x) < 38))
    canvas.paint(processes & (level > disc + 8), Tissue.CORTEX)
    canvas.paint((arch < 1) & (level > disc), Tissue.CORTEX)
    canvas.paint((arch < 0.62) & (level >= 0), Tissue.SOFT)


def _table_and_arms(canvas: Canvas, half_width: float, half_depth: float) -> None:
    """Paint the couch under the body and, in some, arms beside it."""
    gap, bend = canvas.draw(2, 14), canvas.draw(-2e-4, 6e-4)
    top = half_depth + gap - bend * canvas.x**2
    inside = (np.abs(canvas.x) < canvas.draw(190, 240)) & (canvas.z < 1e4)
    free = canvas.where(Tissue.AIR)
    canvas.paint(
        free & inside & (np.abs(canvas.y - top) < canvas.draw(2, 5)), Tissue.TABLE
    )
    if canvas.rng.random() < 0.25:
        for side in (-1, 1):
            centre = side * (half_width + canvas.draw(38, 55))
            arm = np.hypot(canvas.x - centre, canvas.y - canvas.draw(-30, 60))
            for radius, tissue in (
                (40, Tissue.FAT),
                (33, Tissue.MUSCLE),
                (12, Tissue.CORTEX),
            ):
                canvas.paint(
                    canvas.where(Tissue.AIR, Tissue.FAT, Tissue.MUSCLE)
                    & (np.abs(canvas.x) > half_width + 1)
                    & (arm < radius)
                    & (canvas.z < 1e4),
                    tissue,
                )
