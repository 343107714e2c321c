"""`measure` prints its contract for two files and for two folders."""

from __future__ import annotations

import json

import numpy as np
import pytest

import measure_oracle
from cli_cases import (
    SHAPE,
    SPACING,
    affine_of,
    phantom_labels,
    refused,
    write_nifti,
)
from napari_liverseg.cli import main

CONTRACT = [
    "dice",
    "jaccard",
    "voe",
    "rvd",
    "sensitivity",
    "precision",
    "accuracy",
    "assd_mm",
    "rmsd_mm",
    "msd_mm",
    "hd95_mm",
]
LESION_KEYS = [
    "truth",
    "predicted",
    "precision",
    "recall",
    "precision_any",
    "recall_any",
]


def disturbed(labels):
    prediction = np.roll(labels, 1, axis=2)
    prediction[11, 19:23] = 0
    return prediction


def test_measure_json_is_the_contract(tmp_path, capsys):
    truth, prediction = phantom_labels(), disturbed(phantom_labels())
    p = write_nifti(tmp_path / "p.nii.gz", prediction)
    t = write_nifti(tmp_path / "t.nii.gz", truth)
    assert main(["measure", "--prediction", str(p), "--truth", str(t), "--json"]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert output.err == ""
    assert list(result) == ["liver", "tumour", "lesions", "tumour_burden", "reasons"]
    assert list(result["liver"]) == list(result["tumour"]) == CONTRACT
    assert list(result["lesions"]) == LESION_KEYS
    expected = measure_oracle.overlap(prediction >= 1, truth >= 1)
    for key, value in expected.items():
        assert result["liver"][key] == pytest.approx(value, abs=1e-6)
    assert result["tumour_burden"]["truth"] == pytest.approx(
        np.count_nonzero(truth == 2) / np.count_nonzero(truth)
    )


def test_measure_for_people_explains_what_is_missing(tmp_path, capsys):
    truth = phantom_labels()
    p = write_nifti(tmp_path / "p.nii.gz", np.minimum(truth, 1))
    t = write_nifti(tmp_path / "t.nii.gz", truth)
    assert main(["measure", "--prediction", str(p), "--truth", str(t)]) == 0
    text = capsys.readouterr().out
    assert "Average symmetric surface distance" in text
    assert "The prediction has no tumour." in text


def test_measure_maps_with_other_values(tmp_path, capsys):
    truth = phantom_labels()
    other = np.zeros(SHAPE, np.uint8)
    other[truth == 1] = 5
    other[truth == 2] = 9
    other[0, 0, 0] = 117
    p = write_nifti(tmp_path / "p.nii.gz", other)
    t = write_nifti(tmp_path / "t.nii.gz", truth)
    words = ["measure", "--prediction", str(p), "--truth", str(t), "--json"]
    assert main(words) == 1
    refused(capsys)
    assert main([*words, "--prediction-labels", "liver=5, tumour=9"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["liver"]["dice"] == result["tumour"]["dice"] == 1


def test_measure_refuses_other_grids_and_resamples_on_request(tmp_path, capsys):
    truth = phantom_labels()
    fine = truth.repeat(2, axis=0)
    origin = affine_of()[:3, 3] - (0, 0, SPACING[0] / 4)
    p = write_nifti(tmp_path / "p.nii.gz", fine, affine_of((2.0, 2.5, 2.0), origin))
    t = write_nifti(tmp_path / "t.nii.gz", truth)
    words = ["measure", "--prediction", str(p), "--truth", str(t), "--json"]
    assert main(words) == 1
    said = refused(capsys)
    assert "34x34x42" in said
    assert "17x34x42" in said
    assert main([*words, "--resample"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["liver"]["dice"] == 1
    assert result["tumour"]["assd_mm"] == 0


def folders(tmp_path, cases):
    for name, (prediction, truth) in cases.items():
        for side, labels in (("p", prediction), ("t", truth)):
            (tmp_path / side).mkdir(exist_ok=True)
            if labels is not None:
                write_nifti(tmp_path / side / f"{name}.nii.gz", labels)
    return [
        "measure",
        "--prediction",
        str(tmp_path / "p"),
        "--truth",
        str(tmp_path / "t"),
        "--json",
    ]


def test_measure_two_folders(tmp_path, capsys):
    truth = phantom_labels()
    words = folders(
        tmp_path,
        {
            "a": (disturbed(truth), truth),
            "b": (truth, truth),
            "c": (np.minimum(truth, 1), truth),
            "only": (truth, None),
        },
    )
    assert main(words) == 0
    output = capsys.readouterr()
    assert "not measured: only." in output.err
    result = json.loads(output.out)
    assert [case["name"] for case in result["cases"]] == ["a", "b", "c"]
    dices = [case["liver"]["dice"] for case in result["cases"]]
    assert result["liver"]["dice"] == pytest.approx(np.mean(dices))
    assert result["summary"]["liver"]["dice"] == pytest.approx(
        {
            "mean": np.mean(dices),
            "sd": np.std(dices, ddof=1),
            "min": min(dices),
            "max": 1,
            "n": 3,
        }
    )
    assert result["summary"]["tumour"]["assd_mm"]["n"] == 2
    assert list(result["lesions"]) == LESION_KEYS
    assert result["lesions"]["truth"] == 6
    assert result["unmatched"] == {"prediction": ["only"], "truth": []}


def test_one_bad_case_does_not_cost_the_others(tmp_path, capsys):
    truth = phantom_labels()
    words = folders(tmp_path, {"good": (truth, truth), "bad": (truth, truth)})
    (tmp_path / "p" / "bad.nii.gz").write_bytes(b"not an image")
    assert main(words) == 1
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert [case["name"] for case in result["cases"]] == ["good"]
    assert list(result["refused"]) == ["bad"]
    assert "1 of 2 cases" in output.err


def test_a_folder_against_a_file_is_refused(tmp_path, capsys):
    file = write_nifti(tmp_path / "t.nii.gz", phantom_labels())
    words = ["measure", "--prediction", str(tmp_path), "--truth", str(file)]
    assert main(words) == 1
    refused(capsys)
