"""The organs of the upper abdomen, each painted where anatomy puts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.synthesis.shape import ellipsoid, tube
from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.canvas import Canvas
    from napari_liverseg.synthesis.field import Point
    from napari_liverseg.synthesis.torso import Torso


def draw_organs(canvas: Canvas, torso: Torso) -> None:
    """Paint bowel, stomach, spleen, liver, kidneys, glands and vessels into a torso."""
    # The liver lies against the diaphragm, which is thinner than a voxel.
    room = torso.cavity & (canvas.z < torso.dome_mm - canvas.draw(0.0, 1.0))
    room &= canvas.where(Tissue.FAT)
    _bowel(canvas, torso, room)
    _spleen(canvas, torso, room)
    stomach = _stomach(canvas, torso, room)
    # A full stomach displaces the left lobe; an empty one is overlaid by it.
    liver_room = room & ~stomach if canvas.rng.random() < 0.6 else room
    liver = _liver(canvas, torso, liver_room & ~canvas.where(Tissue.SPLEEN))
    canvas.paint(liver, Tissue.LIVER)
    _kidneys(canvas, torso, room)
    hilum = _hilum(canvas, torso, room)
    _gallbladder(canvas, torso, room, hilum)
    _vessels(canvas, torso, hilum)


def _bowel(canvas: Canvas, torso: Torso, room: NDArray[np.bool_]) -> None:
    """Fill part of the lower cavity with loops from smooth random fields."""
    top = canvas.draw(-125, -60) + 18 * canvas.field(45)
    loops = canvas.field(canvas.draw(16, 26))
    fullness = canvas.draw(-0.5, 0.8)
    front = canvas.y < torso.spine_y_mm - 10
    bowel = room & front & (canvas.z < top) & (loops < fullness)
    canvas.paint(bowel, Tissue.BOWEL)
    content = canvas.field(14)
    canvas.paint(bowel & (content > canvas.draw(0.9, 1.8)), Tissue.FLUID)
    gas = bowel & (canvas.field(18) - canvas.y / 120 > canvas.draw(1.0, 2.0))
    canvas.paint(gas, Tissue.GAS)
    # Faeces: a fine mixture of gas and solid in part of the bowel.
    stool = bowel & (canvas.field(40) > canvas.draw(0.8, 1.6)) & (canvas.field(4) > 0.9)
    canvas.paint(stool, Tissue.GAS)


def _spleen(canvas: Canvas, torso: Torso, room: NDArray[np.bool_]) -> None:
    centre = (
        canvas.draw(-75, -40),
        canvas.draw(0.2, 0.5) * torso.half_depth_mm,
        canvas.draw(0.6, 0.78) * torso.half_width_mm,
    )
    radii = (canvas.draw(38, 75), canvas.draw(38, 62), canvas.draw(22, 40))
    canvas.paint(room & canvas.blob(centre, radii), Tissue.SPLEEN)


def _stomach(
    canvas: Canvas, torso: Torso, room: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Paint and return a stomach with wall, content and an air level in front."""
    centre = (
        canvas.draw(-75, -35),
        canvas.draw(-0.4, 0.1) * torso.half_depth_mm,
        canvas.draw(0.25, 0.5) * torso.half_width_mm,
    )
    radii = (canvas.draw(35, 75), canvas.draw(28, 55), canvas.draw(28, 52))
    turns = (canvas.draw(-40, 40), canvas.draw(-25, 25), canvas.draw(-25, 25))
    distance = ellipsoid(canvas.axes_mm, centre, radii, turns)
    distance += 0.1 * canvas.field(25)
    free = room & ~canvas.where(Tissue.SPLEEN)
    stomach = free & (distance < 1)
    canvas.paint(stomach, Tissue.STOMACH)
    inside = free & (distance < 1 - canvas.draw(4, 9) / min(radii))
    if canvas.rng.random() < 0.6:
        canvas.paint(inside, Tissue.FLUID)
    level = centre[1] + canvas.draw(-0.9, 0.3) * radii[1]
    canvas.paint(inside & (canvas.y < level), Tissue.GAS)
    return stomach


def _liver(canvas: Canvas, torso: Torso, room: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a right and a left lobe, cut by dome and wall, with a fissure."""
    wide, deep = torso.half_width_mm, torso.half_depth_mm
    wobble = canvas.draw(0.04, 0.12)
    right = _lobe(
        canvas,
        centre=(canvas.draw(-85, -55), canvas.draw(-0.1, 0.12) * deep, -0.5 * wide),
        up=canvas.draw(110, 200),
        down=canvas.draw(55, 125),
        depth=canvas.draw(0.62, 0.95) * deep,
        widths=(canvas.draw(0.6, 0.9) * wide, canvas.draw(0.35, 0.55) * wide),
    )
    left = _lobe(
        canvas,
        centre=(
            canvas.draw(-55, -30),
            canvas.draw(-0.6, -0.35) * deep,
            canvas.draw(-0.25, 0.1) * wide,
        ),
        up=canvas.draw(50, 120),
        down=canvas.draw(28, 60),
        depth=canvas.draw(0.3, 0.55) * deep,
        widths=(canvas.draw(0.4, 0.6) * wide, canvas.draw(0.3, 0.75) * wide),
    )
    bumps = wobble * canvas.field(35) + 0.4 * wobble * canvas.field(14)
    lobes = np.minimum(right, left) + bumps < 1
    lobes |= _caudate(canvas, torso)
    return np.asarray(lobes & room & ~_fissure(canvas, torso), np.bool_)


def _lobe(
    canvas: Canvas,
    centre: Point,
    up: float,
    down: float,
    depth: float,
    widths: tuple[float, float],
) -> NDArray[np.float32]:
    """Return the distance in radii from a lobe whose radii differ by side."""
    z, y, x = (
        a - np.float32(c)
        for a, c in zip((canvas.z, canvas.y, canvas.x), centre, strict=True)
    )
    lean = canvas.draw(-0.35, 0.1)
    z = z - np.float32(lean) * x
    up_or_down = np.where(z > 0, z / up, z / down)
    side = np.where(x < 0, x / widths[0], x / widths[1])
    power = canvas.draw(1.8, 2.6)
    total = (
        np.abs(up_or_down) ** power + np.abs(y / depth) ** power + np.abs(side) ** power
    )
    return np.asarray(total ** (1 / power), np.float32)


def _caudate(canvas: Canvas, torso: Torso) -> NDArray[np.bool_]:
    centre = (
        canvas.draw(-75, -50),
        canvas.draw(0.05, 0.25) * torso.half_depth_mm,
        canvas.draw(-0.2, -0.05) * torso.half_width_mm,
    )
    return canvas.blob(centre, (canvas.draw(20, 35), canvas.draw(14, 24), 18))


def _fissure(canvas: Canvas, torso: Torso) -> NDArray[np.bool_]:
    """Return the fat-filled cleft of the falciform ligament."""
    width = canvas.draw(0, 7)
    plane = canvas.x - canvas.draw(-0.2, 0.05) * torso.half_width_mm
    plane = plane + 0.25 * canvas.y + 5 * canvas.field(40)
    low = canvas.z < canvas.draw(-80, -25)
    return np.asarray((np.abs(plane) < width / 2) & low & (canvas.y < 0), np.bool_)


def _kidneys(canvas: Canvas, torso: Torso, room: NDArray[np.bool_]) -> None:
    """Paint kidneys in their fat; they press into whatever lies before them."""
    for side in (-1, 1):
        centre = (
            canvas.draw(-165, -105) + 8 * side,
            torso.spine_y_mm - canvas.draw(-8, 22),
            side * canvas.draw(55, 78),
        )
        radii = (canvas.draw(45, 62), canvas.draw(24, 32), canvas.draw(22, 31))
        turns = (canvas.draw(-25, 25), side * canvas.draw(0, 18), canvas.draw(-20, 5))
        distance = ellipsoid(canvas.axes_mm, centre, radii, turns)
        distance += 0.06 * canvas.field(18)
        rim = canvas.draw(0.02, 0.5)
        canvas.paint(room & (distance < 1 + rim), Tissue.FAT)
        kidney = (
            torso.cavity & (distance < 1) & ~canvas.where(Tissue.CORTEX, Tissue.BONE)
        )
        canvas.paint(kidney, Tissue.KIDNEY)
        sinus = (centre[0], centre[1] - 4, centre[2] - side * 14)
        canvas.paint(kidney & canvas.blob(sinus, (22, 12, 14), 0.2), Tissue.FAT)


def _hilum(canvas: Canvas, torso: Torso, room: NDArray[np.bool_]) -> Point:
    """Carve the porta hepatis out of the liver and return where it lies."""
    hilum = (
        canvas.draw(-105, -75),
        canvas.draw(-0.1, 0.2) * torso.half_depth_mm,
        canvas.draw(-0.3, -0.12) * torso.half_width_mm,
    )
    radii = (canvas.draw(14, 38), canvas.draw(12, 28), canvas.draw(16, 36))
    canvas.paint(room & canvas.blob(hilum, radii, 0.25), Tissue.FAT)
    return hilum


def _gallbladder(
    canvas: Canvas, torso: Torso, room: NDArray[np.bool_], hilum: Point
) -> None:
    """Paint pancreas and duodenum below the hilum, and the gallbladder before it."""
    head = (
        hilum[0] - canvas.draw(20, 45),
        hilum[1] + 5,
        hilum[2] + canvas.draw(15, 35),
    )
    tail = (
        hilum[0] + canvas.draw(-15, 15),
        canvas.draw(0.05, 0.35) * torso.half_depth_mm,
        canvas.draw(0.35, 0.6) * torso.half_width_mm,
    )
    neck = (head[0] + 15, head[1] - canvas.draw(5, 25), 5.0)
    band = tube(canvas.axes_mm, [head, neck, tail], canvas.draw(7, 13))
    free = room & ~canvas.where(Tissue.LIVER, Tissue.KIDNEY, Tissue.SPLEEN)
    canvas.paint(free & (band + 0.25 * canvas.field(12) < 1), Tissue.GLAND)
    duodenum = (head[0] - 5, head[1], head[2] - canvas.draw(18, 30))
    canvas.paint(free & canvas.blob(duodenum, (30, 14, 13), 0.15), Tissue.BOWEL)
    if canvas.rng.random() < 0.85:
        fundus = (
            hilum[0] - canvas.draw(10, 35),
            hilum[1] - canvas.draw(25, 50),
            hilum[2] - canvas.draw(0, 25),
        )
        radii = (canvas.draw(14, 30), canvas.draw(16, 34), canvas.draw(10, 19))
        canvas.paint(room & canvas.blob(fundus, radii, 0.05), Tissue.GALLBLADDER)


def _vessels(canvas: Canvas, torso: Torso, hilum: Point) -> None:
    """Paint aorta, vena cava and portal vein with its splenic and mesenteric roots."""
    front = torso.spine_y_mm - 20
    top, bottom = float(canvas.z.max()) + 50, float(canvas.z.min()) - 50
    x_aorta, x_cava = canvas.draw(3, 16), canvas.draw(-34, -20)
    aorta = [
        (top, front + 4, x_aorta + 6),
        (-60.0, front - 6, x_aorta),
        (bottom, front - 8, x_aorta - 6),
    ]
    cava = [
        (float(torso.dome_mm.max()) + 10, front - canvas.draw(20, 40), x_cava + 4),
        (-60.0, front - canvas.draw(5, 22), x_cava),
        (bottom, front - 6, x_cava + 4),
    ]
    bony = canvas.where(Tissue.BONE, Tissue.CORTEX, Tissue.CARTILAGE)
    canvas.paint(
        ~bony & (tube(canvas.axes_mm, aorta, canvas.draw(8, 14)) < 1), Tissue.AORTA
    )
    flat = canvas.draw(8, 15)
    canvas.paint(~bony & (tube(canvas.axes_mm, cava, flat) < 1), Tissue.VEIN)
    confluence = (hilum[0] - canvas.draw(25, 45), hilum[1] + 8, canvas.draw(-8, 8))
    roots = [
        ([hilum, confluence], canvas.draw(5, 8.5)),
        ([confluence, (bottom, confluence[1] - 10, 5.0)], canvas.draw(4, 7)),
        (
            [confluence, (hilum[0] + 10, hilum[1] + 35, 0.6 * torso.half_width_mm)],
            canvas.draw(3, 5),
        ),
    ]
    for points, radius in roots:
        canvas.paint(
            torso.cavity & (tube(canvas.axes_mm, points, radius) < 1), Tissue.VEIN
        )
