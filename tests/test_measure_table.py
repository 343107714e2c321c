"""Tables and folders say the same as the measures they come from."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.folder import describe, match_folders, summarise
from napari_liverseg.measure.table import UNDEFINED, as_csv, as_rows

GRID = Geometry((5, 8, 11), (4.0, 0.9, 0.8), (9.0, 8.0, -7.0))


def case(liver_to, tumour_to, truth_tumour_to=5):
    """Measure a liver of x 1..liver_to against one of x 1..8."""

    def labels(end, tumour_end):
        array = np.zeros(GRID.shape, np.uint8)
        array[1:4, 2:7, 1:end] = 1
        array[2, 3:5, 3:tumour_end] = 2
        return Segmentation(array, GRID)

    return measure_case(labels(liver_to, tumour_to), labels(8, truth_tumour_to))


def test_rows_have_units_and_digits():
    rows = {row.key: row for row in as_rows(case(7, 4))}
    measures = case(7, 4)
    assert rows["dice"].liver.text == f"{measures.liver.agreement.dice:.3f}"
    assert rows["assd_mm"].unit == "mm"
    assert rows["assd_mm"].liver.value == measures.liver.distances.assd_mm
    assert rows["volume.truth"].liver.value == pytest.approx(105 * GRID.voxel_ml)
    assert rows["lesions.truth"].tumour.text == "1"
    assert rows["lesions.truth"].liver.text == ""


def test_a_null_shows_its_reason():
    rows = {row.key: row for row in as_rows(case(7, 3))}
    cell = rows["assd_mm"].tumour
    assert (cell.value, cell.text) == (None, UNDEFINED)
    assert "prediction has no tumour" in cell.note
    assert rows["assd_mm"].liver.note == ""


def test_csv_keeps_full_precision_and_explains_empty_cells():
    measures = case(7, 3)
    lines = list(csv.DictReader(io.StringIO(as_csv(measures))))
    by_name = {line["metric"]: line for line in lines}
    assert float(by_name["Dice"]["liver"]) == measures.liver.agreement.dice
    distance = by_name["95 % Hausdorff distance"]
    assert distance["tumour"] == ""
    assert distance["unit"] == "mm"
    assert "no tumour" in distance["note"]
    assert len(lines) == len(as_rows(measures))


def test_describe_leaves_out_what_is_undefined():
    assert describe([1.0, None, 3.0]) == {
        "mean": 2.0,
        "sd": pytest.approx(math.sqrt(2)),
        "min": 1.0,
        "max": 3.0,
        "n": 2,
    }
    assert describe([4.0])["sd"] is None
    assert describe([None]) == {
        "mean": None,
        "sd": None,
        "min": None,
        "max": None,
        "n": 0,
    }


def test_summary_pools_voxels_and_lesions():
    cases = {"a": case(7, 4), "b": case(8, 3), "c": case(4, 5, truth_tumour_to=3)}
    summary = summarise(cases)
    assert summary["cases"] == 3
    liver = [c.liver.counts for c in cases.values()]
    assert summary["dice_global"]["liver"] == pytest.approx(
        2 * sum(c.both for c in liver) / sum(c.prediction + c.truth for c in liver)
    )
    # 4 true tumour voxels twice; 2 found, 0 found, 4 false ones.
    assert summary["dice_global"]["tumour"] == pytest.approx(
        2 * 2 / (2 + 0 + 4 + 4 + 4 + 0)
    )
    assert summary["tumour"]["assd_mm"]["n"] == 1
    assert summary["lesions_global"]["truth"] == 2
    assert summary["lesions_global"]["predicted"] == 2
    assert summary["lesions_global"]["recall_any"] == 0.5
    errors = [c.burden_prediction - c.burden_truth for c in cases.values()]
    assert summary["tumour_burden_rmse"] == pytest.approx(
        math.sqrt(sum(e * e for e in errors) / 3)
    )


def test_folders_match_by_name_without_the_ending(tmp_path):
    for side, names in {
        "p": ["one.nii.gz", "two.nrrd", "extra.mha", "report.json", ".hidden.nii"],
        "t": ["one.mha", "two.nii.gz", "lost.nii"],
    }.items():
        (tmp_path / side).mkdir()
        for name in names:
            (tmp_path / side / name).touch()
    match = match_folders(tmp_path / "p", tmp_path / "t")
    assert {n: (p.name, t.name) for n, (p, t) in match.pairs.items()} == {
        "one": ("one.nii.gz", "one.mha"),
        "two": ("two.nrrd", "two.nii.gz"),
    }
    assert match.prediction_only == ("extra",)
    assert match.truth_only == ("lost",)


def test_folders_without_a_common_name_or_with_a_doubled_one_are_refused(tmp_path):
    for name in ("p/a.nii", "t/b.nii", "double/a.nii", "double/a.nrrd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(CaseError, match="has the name of one"):
        match_folders(tmp_path / "p", tmp_path / "t")
    with pytest.raises(CaseError, match="two label maps named 'a'"):
        match_folders(tmp_path / "double", tmp_path / "t")


def test_folders_of_results_match_by_their_own_name(tmp_path):
    for name in ("p/one/labels.nii.gz", "p/empty/notes.txt", "t/one.nrrd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    match = match_folders(tmp_path / "p", tmp_path / "t")
    assert match.pairs == {
        "one": (tmp_path / "p" / "one" / "labels.nii.gz", tmp_path / "t" / "one.nrrd")
    }
    assert match.prediction_only == ()
