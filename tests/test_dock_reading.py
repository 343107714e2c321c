"""What the user must read stays in sight, whole, and true."""

import numpy as np
import pytest
import SimpleITK as sitk
from qtpy.QtWidgets import QLabel

from dicom_factory import Style, write_series
from dock_case import (
    SPACING,
    hounsfield,
    labels,
    open_case,
    open_with_model,
    segment,
    write_image,
)
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.problem import Problem
from napari_liverseg.inference.doubts import NO_LIVER
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.scan import list_series
from napari_liverseg.ui.button import wrapped
from napari_liverseg.ui.case_section import after_decision
from napari_liverseg.ui.series_dialog import SeriesDialog, needs_choice
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(make_dock, tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=SPACING)
    return make_dock(show=True)


def test_that_no_liver_was_found_stays_in_sight(dock, qtbot, tmp_path):
    air = np.full_like(hounsfield(), -1000)
    path = write_image(tmp_path / "air.nii.gz", air)
    segment(qtbot, open_with_model(qtbot, dock, path, "tiny"))
    message = dock.segment.messages.message("notes")
    assert message.text == NO_LIVER
    assert message.isVisible()


def test_a_warning_outlives_the_refusal_of_another_file(dock, qtbot, tmp_path):
    squeezed = np.clip(hounsfield() + 110, 0, 255).astype(np.uint8)
    open_case(qtbot, dock, write_image(tmp_path / "grey.nii.gz", squeezed))
    assert dock.case.messages.message("not-hounsfield").isVisible()
    text = tmp_path / "text.nii"
    text.write_text("no image")
    with qtbot.waitSignal(dock.case.slot.failed):
        dock.case.open(text)
    assert dock.case.messages.message("open") is not None
    assert dock.case.messages.message("not-hounsfield").isVisible()


def test_nothing_is_compared_before_there_are_masks(dock, qtbot, tmp_path):
    open_case(qtbot, dock, write_image(tmp_path / "ct.nii.gz", hounsfield()))
    with qtbot.waitSignal(dock.compare.opener.opened):
        dock.compare.open_truth(write_image(tmp_path / "truth.nii.gz", labels()))
    assert not dock.compare.run.isEnabled()
    assert "no masks" in dock.compare.run.toolTip()
    dock.segment.model.setCurrentText("Tiny model")
    segment(qtbot, dock)
    assert dock.compare.run.isEnabled()


def test_dialogs_start_where_the_ct_is(dock, qtbot, tmp_path, monkeypatch):
    open_case(qtbot, dock, write_image(tmp_path / "ct.nii.gz", hounsfield()))
    asked = []
    monkeypatch.setattr(
        "napari_liverseg.ui.case_section.QFileDialog.getOpenFileName",
        lambda *arguments: asked.append(arguments[2]) or ("", ""),
    )
    dock.case.open_file.click()
    assert asked == [str(tmp_path)]


def test_long_lines_are_never_cut(dock, qtbot):
    dock.segment.set_open(True)
    dock.segment.card.setText("Not for clinical use. " * 12)
    qtbot.wait(50)
    card = dock.segment.card
    assert isinstance(card, QLabel)
    assert card.height() >= card.heightForWidth(card.width())


def test_a_series_that_no_decision_opens_is_refused_in_words(tmp_path):
    hu = np.full((1, 8, 9), 40, np.int16)
    grid = Geometry(hu.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        write_series(tmp_path / part, hu, grid)
    series = list_series(tmp_path)
    assert {p.code for p in series[0].errors} >= {"duplicate-positions"}
    assert not needs_choice(series)
    with pytest.raises(CaseError, match="one slice position"):
        open_ct(tmp_path)


def test_what_cannot_be_decided_is_said_first_and_offers_no_decision(qtbot, tmp_path):
    test_a_series_that_no_decision_opens_is_refused_in_words(tmp_path)
    dialog = SeriesDialog(list_series(tmp_path))
    qtbot.addWidget(dialog)
    dialog.show()
    assert "one slice position" in dialog.problems.text().splitlines()[0]
    assert dialog.table.item(0, 2).text().endswith(" ?")  # no distance of 0 mm
    assert not any(box.isVisible() for box in dialog.decisions.values())
    assert not dialog.open_button.isEnabled()


def test_a_decision_that_was_taken_is_no_longer_asked_for():
    text = "Slices lean by 9 degrees. Export again, or decide 'resample' to shift them."
    tilted = Problem("gantry-tilt", "error", text, "resample")
    done = after_decision(tilted, ("resample",))
    assert done.startswith("Slices lean by 9 degrees. As you decided")
    assert "decide 'resample'" not in done
    assert after_decision(tilted, ()) == text


def test_a_label_map_is_not_segmented(tmp_path):
    path = write_image(tmp_path / "masks.nii.gz", labels())
    with pytest.raises(CaseError, match="looks like a label map"):
        open_ct(path)
    image = sitk.ReadImage(str(path))
    noisy = np.random.default_rng(0).integers(0, 255, image.GetSize()[::-1])
    grey = write_image(tmp_path / "grey.nii.gz", noisy.astype(np.uint8))
    assert "not-hounsfield" in {p.code for p in open_ct(grey).problems}


def test_tooltips_wrap_and_show_what_is_written():
    assert wrapped("a < b\nc") == "<qt>a &lt; b<br>c</qt>"


def test_dialogs_follow_a_ct_that_was_dropped(dock, qtbot, tmp_path):
    """A label map is not put into the folder of the patient before."""
    folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
    open_case(qtbot, dock, write_image(folders[0] / "ct.nii.gz", hounsfield()))
    second = write_image(folders[1] / "ct.nii.gz", hounsfield(seed=2))
    dock.viewer.open(str(second), plugin="napari-liverseg")
    assert dock.session.start_folder == str(folders[1])


def test_a_description_with_slashes_names_a_file(dock, qtbot, tmp_path, monkeypatch):
    hu = hounsfield()
    style = Style(description="CT CHEST/PELVIS W/CONTRAST")
    write_series(tmp_path / "ct", hu, Geometry(hu.shape, SPACING), style)
    open_case(qtbot, dock, tmp_path / "ct")
    dock.session.show_layers()
    asked = []
    monkeypatch.setattr(
        "napari_liverseg.ui.export_section.QFileDialog.getSaveFileName",
        lambda *arguments: asked.append(arguments[2]) or ("", ""),
    )
    dock.export.labels.click()
    assert asked == [str(tmp_path / "CT CHEST-PELVIS W-CONTRAST_labels.nii.gz")]


@pytest.mark.parametrize(
    ("kind", "typed", "taken"),
    [
        ("csv", "ct.nii.gz", "ct.nii.gz.csv"),
        ("csv", "CASE.CSV", "CASE.CSV"),
        ("labels", "CASE.NII.GZ", "CASE.NII.GZ"),
        ("labels", "case", "case.nii.gz"),
    ],
)
def test_a_typed_name_ends_as_what_is_saved(
    dock, tmp_path, monkeypatch, kind, typed, taken
):
    monkeypatch.setattr(
        "napari_liverseg.ui.export_section.QFileDialog.getSaveFileName",
        lambda *asked: (str(tmp_path / typed), asked[3].split(";;")[0]),
    )
    names = []
    monkeypatch.setattr(
        dock.export, f"save_{kind}", lambda path, **_: names.append(path.name)
    )
    getattr(dock.export, f"_ask_{kind}")()
    assert names == [taken]


def test_every_layer_that_was_removed_is_named(dock, qtbot, tmp_path):
    open_case(qtbot, dock, write_image(tmp_path / "case.nii.gz", hounsfield()))
    masks = dock.session.show_layers()
    with masks.liver.block_history():
        masks.liver.paint((6, 33, 40), 1)
    for layer in (dock.session.ct_layer, *masks):
        dock.viewer.layers.remove(layer)
    said = dock.messages.message("layers").text
    assert said.startswith("CT, Liver and Tumour were removed")
