"""A small CT that a threshold model segments, and steps that window tests share."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

SHAPE = (14, 40, 52)
SPACING = (4.0, 2.5, 2.0)
ORIGIN = (-300.0, -40.0, 25.0)
LIVER_HU, TUMOUR_HU, FAT_HU = 100, 190, -100
LIVER = (slice(3, 11), slice(8, 30), slice(6, 34))
TUMOUR = (slice(5, 9), slice(12, 20), slice(10, 18))
DOUBTFUL = (slice(5, 6), slice(12, 20), slice(10, 18))
"""Part of the tumour that the model believes in only half."""

DOUBTFUL_HU = 152


def labels():
    """Return the exact label map."""
    values = np.zeros(SHAPE, np.uint8)
    values[LIVER] = 1
    values[TUMOUR] = 2
    return values


def hounsfield(seed=0):
    """Return the CT: constant tissues, a bit of noise outside of the liver."""
    truth = labels()
    random = np.random.default_rng(seed)
    hu = np.full(SHAPE, FAT_HU, np.int16) + random.integers(-9, 9, SHAPE, np.int16)
    hu[truth == 1] = LIVER_HU
    hu[truth == 2] = TUMOUR_HU
    hu[DOUBTFUL] = DOUBTFUL_HU
    return hu


def write_image(path, array, origin=ORIGIN):
    """Write an array in LPS order with the case's grid."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(origin[::-1])
    sitk.WriteImage(image, str(path))
    return path


def open_case(qtbot, dock, path):
    """Open a CT through the dock and wait until it is shown."""
    with qtbot.waitSignal(dock.session.case_changed, timeout=20_000):
        dock.case.open(path)
    return dock.session.volume


def open_with_model(qtbot, dock, path, model):
    """Open a CT and choose a model by name; return the dock."""
    open_case(qtbot, dock, path)
    box = dock.segment.model
    names = [box.itemData(i).name for i in range(box.count())]
    box.setCurrentIndex(names.index(model))
    return dock


def segment(qtbot, dock):
    """Press Segment and wait for the masks."""
    from qtpy.QtCore import Qt

    dock.segment.set_open(True)
    with qtbot.waitSignal(dock.session.result_changed, timeout=60_000):
        qtbot.mouseClick(dock.segment.run, Qt.MouseButton.LeftButton)


def move(qtbot, dock, name, per_cent):
    """Move a threshold slider and wait until the masks follow."""
    with qtbot.waitSignal(dock.session.masks_changed, timeout=5_000):
        dock.threshold.sliders[name].setValue(per_cent)


def paint(qtbot, viewer, start, stop, button="LeftButton"):
    """Drag the real mouse over the canvas between two voxels ``(z, y, x)``."""
    from qtpy.QtCore import QEvent, Qt

    layer = viewer.layers.selection.active
    points = [canvas_point(viewer, layer.data_to_world(v)) for v in (start, stop)]
    held = getattr(Qt.MouseButton, button)
    none = Qt.MouseButton.NoButton
    kinds = QEvent.Type
    # The last move comes twice: napari drops moves that follow within 5 ms.
    for kind, point, changed, buttons in (
        (kinds.MouseMove, points[0], none, none),
        (kinds.MouseButtonPress, points[0], held, held),
        (kinds.MouseMove, points[0], none, held),
        (kinds.MouseMove, points[1], none, held),
        (kinds.MouseMove, points[1], none, held),
        (kinds.MouseButtonRelease, points[1], held, none),
    ):
        _send(viewer, kind, point, changed, buttons)
        qtbot.wait(20)


def _send(viewer, kind, point, changed, buttons):
    from qtpy.QtCore import QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    native = viewer.window._qt_viewer.canvas.native
    local = QPointF(*point)
    there = native.mapToGlobal(local)
    modifiers = Qt.KeyboardModifier.NoModifier
    event = QMouseEvent(kind, local, there, changed, buttons, modifiers)
    QApplication.sendEvent(native, event)


def canvas_point(viewer, world):
    """Return where a world point lies on the canvas, in pixels."""
    canvas = viewer.window._qt_viewer.canvas
    down, across = (world[axis] for axis in viewer.dims.displayed)
    transform = canvas.view.transform * canvas.view.scene.transform
    x, y = transform.map([across, down, 0, 1])[:2]
    return float(x), float(y)


def go_to_slice(viewer, layer, z):
    """Show one axial slice."""
    viewer.dims.set_point(0, layer.data_to_world((z, 0, 0))[0])
