"""A day of work in the real window on real CTs, with the bundled model."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dock_case import go_to_slice, move, open_case, paint, segment
from io_cases import real
from napari_liverseg.io.label_map import read_label_map

MODEL_MADE_LIVER = 5
SHOTS = os.environ.get("NAPARI_LIVERSEG_SHOTS")

CASES = [
    pytest.param("abdomen-dicom-j2k", "abdomen-dicom-j2k.labels.nii.gz", 0.88),
    # The starter model has learnt from this one; the bound only says it is wired.
    pytest.param("abdomen-3mm/ct.nii.gz", "abdomen-3mm/labels.nii.gz", 0.8),
]


@pytest.mark.gui
@pytest.mark.parametrize(("ct", "truth", "least_dice"), CASES)
def test_open_segment_correct_compare_export(
    make_dock, qtbot, tmp_path, ct, truth, least_dice
):
    dock = make_dock()
    dock.viewer.window.resize(1500, 950)
    volume = open_case(qtbot, dock, real(ct))
    segment(qtbot, dock)
    masks = dock.session.masks
    truth_map = read_label_map(real(truth), volume, values={MODEL_MADE_LIVER: 1})
    _compare(qtbot, dock, truth_map, tmp_path)
    assert dock.compare.measures.liver.as_dict()["dice"] > least_dice

    move(qtbot, dock, "tumour", 80)
    z = int((masks.liver.data != 0).sum(axis=(1, 2)).argmax())
    go_to_slice(dock.viewer, masks.liver, z)
    _, y, x = (int(np.median(i)) for i in np.nonzero(masks.liver.data[z : z + 1]))
    dock.correct.take("liver", "erase")
    qtbot.wait(100)
    before = masks.liver.data.copy()
    paint(qtbot, dock.viewer, (z, y, x), (z, y, x + 6))
    erased = (before != 0) & (masks.liver.data == 0)
    assert erased.any()
    paint(qtbot, dock.viewer, (z, y + 9, x), (z, y + 9, x + 6))
    dock.correct.undo.click()
    segment(qtbot, dock)
    assert not masks.liver.data[erased].any()
    if SHOTS:
        qtbot.wait(500)
        picture = Path(SHOTS) / f"{Path(ct).parts[0]}.png"
        dock.viewer.screenshot(str(picture), canvas_only=False, flash=False)

    out = tmp_path / "labels.nii.gz"
    with qtbot.waitSignal(dock.export.slot.done, timeout=60_000):
        dock.export.save_labels(out)
    written = np.asarray(nibabel.load(out).dataobj).T
    turned = volume.reorientation.to_lps(written)
    assert not (turned[erased] == 1).any()
    assert read_label_map(out, volume).labels.any()


def _compare(qtbot, dock, truth_map, folder):
    from napari_liverseg.io.label_map import write_label_map

    path = write_label_map(folder / "truth.nii.gz", truth_map, dock.session.volume)
    with qtbot.waitSignal(dock.compare.opener.opened, timeout=60_000):
        dock.compare.open_truth(path)
    with qtbot.waitSignal(dock.compare.slot.done, timeout=60_000):
        dock.compare.run.click()
