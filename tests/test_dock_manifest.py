"""What napari is told of the plugin, and what napari gets when it asks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from napari._app_model.constants import MenuId
from npe2 import PluginManager, PluginManifest

from dicom_factory import Style, write_series
from dock_case import SPACING, hounsfield, labels, open_case, write_image
from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.problem import Problem
from napari_liverseg.io.scan import list_series
from napari_liverseg.io.series import SeriesInfo
from napari_liverseg.ui import reader
from napari_liverseg.ui.mapping_dialog import MappingDialog
from napari_liverseg.ui.series_dialog import SeriesDialog, choices, needs_choice
from napari_liverseg.ui.writer import write_labels

MANIFEST = Path(reader.__file__).parents[1] / "napari.yaml"


@pytest.fixture
def manifest():
    return PluginManifest.from_file(MANIFEST)


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_every_menu_takes_contributions():
    menus = yaml.safe_load(MANIFEST.read_text())["contributions"]["menus"]
    allowed = {str(menu) for menu in MenuId.contributables()}
    assert menus
    assert set(menus) <= allowed


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ct.nii.gz", True),
        ("CT.NRRD", True),
        ("slice.dcm", True),
        ("IM000001", True),
        ("1.2.840.113619.2.5.1762", True),
        ("study.zip", True),
        ("photo.tif", False),
        ("notes.txt", False),
        ("stack.ome.tif", False),
    ],
)
def test_only_possible_cts_are_claimed(manifest, name, ours, tmp_path):
    manager = PluginManager()
    manager.register(manifest)
    (tmp_path / name).touch()
    found = list(manager.iter_compatible_readers(str(tmp_path / name)))
    assert bool(found) is ours


def test_folders_without_a_ct_are_refused_at_once(tmp_path, monkeypatch):
    for index in range(reader.FILES_TO_TRY + 100):
        (tmp_path / f"chunk.{index}").write_bytes(b"zarr")
    opened, look = [], reader.looks_like_dicom
    monkeypatch.setattr(
        reader, "looks_like_dicom", lambda path: opened.append(path) or look(path)
    )
    assert reader.get_reader(str(tmp_path)) is None
    assert len(opened) == reader.FILES_TO_TRY
    (tmp_path / "text").write_text("no dicom")
    assert reader.get_reader(str(tmp_path / "text")) is None


@pytest.mark.parametrize("name", ["label_map.nii.gz", "liver_P001_01.nii.gz"])
def test_a_label_map_opens_as_labels(tmp_path, name):
    path = write_image(tmp_path / name, labels())
    ((data, settings, kind),) = reader.get_reader(str(path))(str(path))
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels())
    assert settings["units"] == ("mm", "mm", "mm")


def test_importing_the_dock_leaves_torch_out():
    code = (
        "import sys, napari_liverseg.ui.dock, napari_liverseg.ui.reader; "
        "sys.exit(bool({'torch', 'monai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gui
def test_opening_the_dock_leaves_torch_out():
    code = (
        "import sys, napari; from napari_liverseg.ui.dock import LiverDock; "
        "viewer = napari.Viewer(show=False); dock = LiverDock(viewer); "
        "viewer.window.add_dock_widget(dock); "
        "assert not {'torch', 'monai'} & set(sys.modules); viewer.close()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gui
def test_napari_writes_the_masks_of_a_case(make_dock, qtbot, tmp_path):
    path = write_image(tmp_path / "case.nii.gz", hounsfield())
    dock = make_dock()
    open_case(qtbot, dock, path)
    masks = dock.session.show_layers()
    masks.liver.data[...] = labels() > 0
    masks.tumour.data[...] = labels() == 2
    out = tmp_path / "out.mha"
    assert write_labels(str(out), [m.as_layer_data_tuple() for m in masks]) == [
        str(out)
    ]
    image, ct = sitk.ReadImage(str(out)), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels())
    assert image.GetDirection() == pytest.approx(ct.GetDirection())
    assert image.GetOrigin() == pytest.approx(ct.GetOrigin())
    with pytest.raises(ExportError, match="do not belong"):
        write_labels(str(out), [(labels(), {"metadata": {}}, "labels")])


def _series(uid, *problems, suggested=False):
    return SeriesInfo(
        uid, uid, "CT", (30, 512, 512), (5.0, 0.7, 0.7), "axial", "B40f", "", (),
        problems, suggested,
    )  # fmt: skip


TILT = Problem("gantry-tilt", "error", "The gantry is tilted.", "resample")
LOST = Problem("missing-slices", "error", "Slices are missing.")
NOTE = Problem("thickness-differs", "note", "Spacing is 2 mm.")
VIEW = _series("view", Problem("localizer", "error", "It is a planning view."))


@pytest.mark.gui
def test_files_of_one_name_look_different_in_the_list(qtbot, tmp_path):
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write_image(tmp_path / patient / "ct.nii.gz", hounsfield())
    dialog = SeriesDialog(list_series(tmp_path))
    qtbot.addWidget(dialog)
    names = {dialog.table.item(row, 0).text() for row in range(2)}
    assert {name.split("/")[0] for name in names} == {"p1", "p2"}


@pytest.mark.gui
def test_the_user_chooses_the_series_and_decides(qtbot):
    dialog = SeriesDialog(
        (
            _series("soft", NOTE, suggested=True),
            _series("tilted", NOTE, TILT),
            _series("x", LOST),
        )
    )
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.choice().series == "soft"
    assert dialog.open_button.isEnabled()
    dialog.table.selectRow(1)
    assert dialog.problems.text() == f"{TILT.message}\n{NOTE.message}"
    assert not dialog.open_button.isEnabled()
    dialog.decisions["resample"].setChecked(True)
    assert dialog.open_button.isEnabled()
    assert dialog.choice().decisions == ("resample",)
    dialog.table.selectRow(2)
    assert not dialog.open_button.isEnabled()


@pytest.mark.parametrize(
    ("series", "asks"),
    [
        ([_series("a")], False),
        ([_series("a", NOTE)], False),
        ([_series("a", TILT)], True),
        ([_series("a", LOST)], False),
        ([_series("a"), _series("b")], True),
        ([_series("a"), VIEW], False),
        ([_series("a", TILT), VIEW], True),
        ([VIEW, VIEW], True),
    ],
)
def test_a_question_is_asked_only_where_there_is_one(series, asks):
    assert needs_choice(series) is asks


def test_planning_views_are_no_choice_beside_a_ct():
    one, other = _series("a"), _series("b", LOST)
    assert choices([one, VIEW, other]) == (one, other)
    assert choices([VIEW]) == (VIEW,)


@pytest.mark.gui
def test_foreign_values_are_named_by_the_user(qtbot):
    dialog = MappingDialog({3: "", 5: "", 7: ""})
    qtbot.addWidget(dialog)
    assert not dialog.ok.isEnabled()
    dialog.choices[5].setCurrentText("Liver")
    dialog.choices[7].setCurrentText("Tumour")
    assert dialog.mapping() == {5: 1, 7: 2}
    assert dialog.ok.isEnabled()


@pytest.mark.gui
def test_what_a_file_calls_its_values_is_chosen_already(qtbot):
    dialog = MappingDialog({1: "Tumor", 2: "liver", 3: "spleen"})
    qtbot.addWidget(dialog)
    assert dialog.mapping() == {1: 2, 2: 1}
    assert dialog.ok.isEnabled()
    dialog = MappingDialog({1: "Liver without tumor", 2: "kidney tumor"})
    qtbot.addWidget(dialog)
    assert dialog.mapping() == {1: 1}


@pytest.mark.gui
@pytest.mark.parametrize("end", ["cancelled", "refused"])
def test_a_series_of_many_files_is_asked_about_once(qtbot, tmp_path, monkeypatch, end):
    """napari hands over each selected slice alone."""
    style = Style(lean_mm=0.5) if end == "cancelled" else Style(drop=(4,))
    hu = hounsfield()
    files = write_series(tmp_path, hu, Geometry(hu.shape, SPACING), style)
    told = []
    monkeypatch.setattr(reader, "show_error", told.append)
    monkeypatch.setattr(reader.SeriesDialog, "ask", lambda series: told.append(series))
    for path in files:
        assert reader.read_layers(str(path)) == reader.NOTHING
    assert len(told) == 1
