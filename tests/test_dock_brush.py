"""A brush of 10 mm paints 10 mm, in any plane and through slices of any thickness."""

import numpy as np
import pytest
import SimpleITK as sitk

from dock_case import hounsfield, open_case

pytestmark = pytest.mark.gui

THIN, THICK = (0.5, 0.9, 0.8), (5.0, 0.8, 0.9)
AXIAL, CORONAL, SAGITTAL = (0, 1, 2), (1, 0, 2), (2, 0, 1)


def _dock(make_dock, qtbot, path, spacing):
    image = sitk.GetImageFromArray(np.repeat(hounsfield(), 3, axis=0))
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((25.0, -40.0, -300.0))
    sitk.WriteImage(image, str(path))
    dock = make_dock()
    open_case(qtbot, dock, path)
    return dock


def _dabbed_mm(dock):
    """Return what one dab of the brush measures along z, y and x."""
    dock.correct.take("liver", "paint")
    liver = dock.session.masks.liver
    before = liver.data.copy()
    with liver.block_history():
        liver.paint(tuple(n // 2 for n in liver.data.shape), 1)
    painted = np.argwhere(liver.data != before)
    liver.undo()
    assert not liver.data.any()
    return np.ptp(painted, axis=0) * liver.scale + liver.scale


def _said_mm(dock):
    return float(dock.correct.brush.size_label.text().partition(" mm")[0])


@pytest.mark.parametrize("spacing", [THIN, THICK])
@pytest.mark.parametrize("order", [AXIAL, CORONAL, SAGITTAL])
def test_what_is_painted_is_as_wide_as_is_said(
    make_dock, qtbot, tmp_path, spacing, order
):
    dock = _dock(make_dock, qtbot, tmp_path / "case.nii.gz", spacing)
    dock.session.show_layers().liver.brush_size = 13  # as napari's keys do
    before = _said_mm(dock)
    dock.viewer.dims.order = order
    said, painted = _said_mm(dock), _dabbed_mm(dock)[list(order[1:])]
    assert said == pytest.approx(before, abs=max(spacing[i] for i in order[1:]))
    for axis, width in zip(order[1:], painted, strict=True):
        assert width == pytest.approx(said, abs=spacing[axis])


@pytest.mark.parametrize("spacing", [THIN, THICK])
def test_a_ball_is_as_wide_and_says_how_many_slices_it_paints(
    make_dock, qtbot, tmp_path, spacing
):
    dock = _dock(make_dock, qtbot, tmp_path / "case.nii.gz", spacing)
    dock.correct.brush.slider.setValue(10)
    before = _said_mm(dock)
    dock.correct.brush.ball.click()
    said, painted = _said_mm(dock), _dabbed_mm(dock)
    np.testing.assert_allclose(painted, said, atol=max(spacing))
    assert painted[1:] == pytest.approx(before, abs=1.0)
    slices = round(painted[0] / spacing[0])
    words = f", {slices} slice{'s' if slices > 1 else ''}"
    assert dock.correct.brush.size_label.text().endswith(words)
    dock.correct.brush.ball.click()
    assert _said_mm(dock) == before
    assert _dabbed_mm(dock)[0] == spacing[0]


def test_napari_s_own_choice_of_dimensions_is_followed(make_dock, qtbot, tmp_path):
    dock = _dock(make_dock, qtbot, tmp_path / "case.nii.gz", THIN)
    liver, tumour = dock.session.show_layers()
    tumour.n_edit_dimensions = 3
    qtbot.waitUntil(dock.correct.brush.ball.isChecked)
    assert liver.n_edit_dimensions == 3
    assert "slices" in dock.correct.brush.size_label.text()


def test_the_width_outlives_the_case(make_dock, qtbot, tmp_path):
    dock = _dock(make_dock, qtbot, tmp_path / "thick.nii.gz", THICK)
    dock.correct.brush.slider.setValue(25)
    before = _said_mm(dock)
    path = tmp_path / "wide.nii.gz"
    image = sitk.GetImageFromArray(hounsfield(seed=3))
    image.SetSpacing((2.0, 2.5, 4.0))
    sitk.WriteImage(image, str(path))
    open_case(qtbot, dock, path)
    assert _said_mm(dock) == pytest.approx(before, abs=2.0)
    assert dock.session.masks.liver.brush_size == dock.correct.brush.slider.value()
