"""Two windows on one CT, and windows that end at once: no stroke is lost."""

import pytest

from dock_case import hounsfield, open_case, write_image
from dock_process import window_process
from napari_liverseg.editing.journal import Journal, journal_folder

pytestmark = pytest.mark.gui

SPOT, OTHER, THIRD = (6, 33, 40), (6, 3, 40), (6, 20, 48)


@pytest.fixture
def case_path(tmp_path):
    return write_image(tmp_path / "case.nii.gz", hounsfield())


def _dab(layer, voxel):
    with layer.block_history():
        layer.paint(voxel, 1)


PAINT_AND_STAY = """
said = [dock.messages.message(topic) for topic in ("elsewhere", "recovery")]
say([message and message.text[:40] for message in said])
dab(*OTHER)
dock.session.recovery.flush()
say("painted")
QApplication.instance().exec()
""".replace("OTHER", str(OTHER))


def test_two_windows_on_one_ct_keep_each_other_s_strokes(make_dock, qtbot, case_path):
    dock = make_dock()
    open_case(qtbot, dock, case_path)
    liver = dock.session.show_layers().liver
    _dab(liver, SPOT)
    dock.session.recovery.flush()
    with window_process(case_path, PAINT_AND_STAY) as other:
        said = "['This CT is being corrected in another wi', None]\n"
        assert other.stdout.readline() == said
        assert other.stdout.readline() == "painted\n"
        _dab(liver, THIRD)
        dock.session.recovery.flush()
    dock.close_down()
    again = make_dock()
    open_case(qtbot, again, case_path)
    for _ in range(2):
        again.messages.message("recovery").answers["Restore"].click()
    assert again.messages.message("recovery") is None
    restored = again.session.masks.liver.data
    assert [restored[voxel] for voxel in (SPOT, OTHER, THIRD)] == [1, 1, 1]


CLOSE_DOCK = """
say(dock.session.volume.series_key)
viewer.window.remove_dock_widget(dock)
"""
QUITS = {
    "quit": """
QTimer.singleShot(0, lambda: (dab(*SPOT), QApplication.quit()))
QApplication.instance().exec()
import os; os._exit(0)
""",
    "window closed": """
QTimer.singleShot(0, lambda: (dab(*SPOT), viewer.close()))
QTimer.singleShot(50, QApplication.quit)
QApplication.instance().exec()
import os; os._exit(0)
""",
    "end of a script": "dab(*SPOT)",
}


@pytest.mark.parametrize("way", QUITS)
def test_a_stroke_just_before_the_end_without_the_dock_is_kept(case_path, way):
    steps = CLOSE_DOCK + QUITS[way].replace("SPOT", str(SPOT))
    with window_process(case_path, steps) as window:
        folder = journal_folder(window.stdout.readline().strip())
        window.wait(60)
    stored = Journal(folder).latest()
    assert stored is not None
    assert stored.masks["liver"].edited.count
