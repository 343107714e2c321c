"""Corrected cases become an nnU-Net dataset that knows patients but not names."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest

from dicom_factory import Style, write_series
from io_cases import GRID, SHAPE, ct, oblique
from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.io import folder_lock, retraining_set
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.retraining_set import add_case, count_cases, known_case
from napari_liverseg.training.folds import draw_folds


def case(folder, uid, patient, grid=GRID):
    write_series(folder / uid, ct(), grid, Style(series_uid=uid, patient_id=patient))
    volume = open_ct(folder / uid)
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:6, 5:18, 4:17] = 1
    labels[2:4, 6:9, 11:15] = 2
    return volume, Segmentation(labels, volume.geometry)


@pytest.fixture
def dataset(tmp_path):
    return tmp_path / "Dataset501_Liver"


def test_ids_are_by_patient(tmp_path, dataset):
    ids = [
        add_case(dataset, *case(tmp_path, uid, patient))
        for uid, patient in [
            ("1.1", "anna-1"),
            ("1.2", "bert-2"),
            ("1.3", "anna-1"),
            ("1.4", ""),
            ("1.5", ""),
        ]
    ]
    assert ids == [
        "liver_P001_01",
        "liver_P002_01",
        "liver_P001_02",
        "liver_P003_01",
        "liver_P004_01",
    ]
    everything = b"".join(p.read_bytes() for p in dataset.glob("*.json"))
    assert b"anna" not in everything
    assert b"1.3" not in everything


def test_a_number_that_stands_for_no_name_is_no_patient(tmp_path, dataset):
    for uid, patient in (("1.1", "anna-1"), ("1.2", ""), ("1.3", "")):
        add_case(dataset, *case(tmp_path, uid, patient))
    cases = find_labelled(dataset).cases
    assert [case.patient for case in cases] == ["liver_P001", None, None]
    assert "2 name none" in draw_folds(cases, 2, seed=1).note


def test_the_layout_is_nnunets(tmp_path, dataset):
    volume, segmentation = case(tmp_path, "1.1", "anna-1", oblique())
    name = add_case(dataset, volume, segmentation)
    image = nib.load(dataset / "imagesTr" / f"{name}_0000.nii.gz")
    label = nib.load(dataset / "labelsTr" / f"{name}.nii.gz")
    np.testing.assert_array_equal(image.affine, label.affine)
    assert image.shape == label.shape == SHAPE[::-1]
    assert image.get_data_dtype() == np.int16
    assert json.loads((dataset / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "tumour": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    files = {p.name for p in dataset.iterdir()} - {folder_lock.LOCK_FILE}
    assert files == {"cases.json", "dataset.json", "imagesTr", "labelsTr"}
    again = open_ct(dataset / "imagesTr" / f"{name}_0000.nii.gz")
    np.testing.assert_array_equal(again.hu, volume.hu)
    back = read_label_map(dataset / "labelsTr" / f"{name}.nii.gz", again)
    np.testing.assert_array_equal(back.labels, segmentation.labels)


def test_the_same_series_replaces_itself_only_by_decision(tmp_path, dataset):
    volume, segmentation = case(tmp_path, "1.1", "anna-1")
    name = add_case(dataset, volume, segmentation)
    with pytest.raises(ExportError, match="liver_P001_01"):
        add_case(dataset, volume, segmentation)
    empty = Segmentation(np.zeros(SHAPE, np.uint8), volume.geometry)
    assert add_case(dataset, volume, empty, overwrite=True) == name
    label = nib.load(dataset / "labelsTr" / f"{name}.nii.gz")
    assert label.get_fdata().sum() == 0
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 1


def part(folder, name, *drop, patient="anna-1"):
    """Return slices of one series as a case; all slices hold the same voxels."""
    style = Style(series_uid="1.1", patient_id=patient, drop=drop)
    write_series(folder / name, np.zeros(SHAPE, np.int16), GRID, style)
    volume = open_ct(folder / name)
    return volume, Segmentation(np.ones(volume.hu.shape, np.uint8), volume.geometry)


def test_parts_of_one_series_are_cases_of_their_own(tmp_path, dataset):
    low = part(tmp_path, "low", 4, 5, 6)
    high = part(tmp_path, "high", 0, 1, 2)
    whole = part(tmp_path, "whole")
    assert low[0].series_key == high[0].series_key == whole[0].series_key
    assert low[0].hu.shape == high[0].hu.shape
    first = add_case(dataset, *low)
    kept = {p: p.read_bytes() for p in dataset.glob("*Tr/*")}
    assert known_case(dataset, low[0]) == first
    assert known_case(dataset, high[0]) is None
    # An answer to 'Replace it?' is about what was there, and of these is nothing.
    second = add_case(dataset, *high, overwrite=True)
    third = add_case(dataset, *whole)
    assert [first, second, third] == [f"liver_P001_0{n}" for n in (1, 2, 3)]
    assert {p: p.read_bytes() for p in kept} == kept
    for name, (volume, segmentation) in zip(
        (first, second, third), (low, high, whole), strict=True
    ):
        with pytest.raises(ExportError, match=name):
            add_case(dataset, volume, segmentation)
        assert add_case(dataset, volume, segmentation, overwrite=True) == name
    assert count_cases(dataset) == (3, 1)


def test_parts_of_a_series_without_a_patient_are_one_patients(tmp_path, dataset):
    add_case(dataset, *case(tmp_path, "1.2", ""))
    low = part(tmp_path, "low", 4, 5, 6, patient="")
    names = [add_case(dataset, *low)]
    assert count_cases(dataset) == (2, 2)
    names.append(add_case(dataset, *part(tmp_path, "whole", patient="")))
    assert names == ["liver_P002_01", "liver_P002_02"]
    assert count_cases(dataset) == (3, 2)
    add_case(dataset, *low, overwrite=True)
    assert count_cases(dataset) == (3, 2)


def test_an_entry_that_does_not_tell_its_volume_is_known_by_its_series(
    tmp_path, dataset
):
    low, high = part(tmp_path, "low", 4, 5, 6), part(tmp_path, "high", 0, 1, 2)
    name = add_case(dataset, *low)
    index = json.loads((dataset / "cases.json").read_text())
    index["cases"] = {
        c: {n: k[n] for n in ("series", "patient")} for c, k in index["cases"].items()
    }
    (dataset / "cases.json").write_text(json.dumps(index))
    for volume, segmentation in (low, high):
        assert known_case(dataset, volume) == name
        with pytest.raises(ExportError, match=name):
            add_case(dataset, volume, segmentation)
    assert add_case(dataset, *low, overwrite=True) == name
    assert known_case(dataset, high[0]) is None


@pytest.mark.parametrize("write", ["write_on_source", "write_label_map"])
def test_a_case_that_fails_leaves_no_half_of_it(tmp_path, dataset, monkeypatch, write):
    name = add_case(dataset, *case(tmp_path, "1.1", "anna-1"))
    other = case(tmp_path, "1.2", "bert-2")

    def full_disk(*_, **__):
        raise ExportError("No room.")

    monkeypatch.setattr(retraining_set, write, full_disk)
    for volume, segmentation in (other, case(tmp_path, "1.1", "anna-1")):
        with pytest.raises(ExportError, match="No room"):
            add_case(dataset, volume, segmentation, overwrite=True)
    assert [case.name for case in find_labelled(dataset).cases] == [name]
    assert count_cases(dataset) == (1, 1)
    files = {p.name for p in dataset.glob("*Tr/*")}
    assert files == {f"{name}_0000.nii.gz", f"{name}.nii.gz"}


def test_two_that_add_at_once_lose_no_case(tmp_path, dataset):
    cases = [case(tmp_path, f"1.{n}", f"patient-{n}") for n in range(1, 5)]
    barrier = threading.Barrier(len(cases))

    def add(one):
        barrier.wait()
        return add_case(dataset, *one)

    with ThreadPoolExecutor(len(cases)) as threads:
        names = list(threads.map(add, cases))
    assert len(set(names)) == len(cases)
    index = json.loads((dataset / "cases.json").read_text())["cases"]
    assert {index[n]["series"] for n in names} == {v.series_key for v, _ in cases}
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 4


def test_a_set_that_stays_in_use_is_a_sentence(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE_S", 0.1)
    dataset.mkdir()
    with (
        folder_lock.locked(dataset),
        pytest.raises(ExportError, match="Somebody else"),
    ):
        add_case(dataset, *case(tmp_path, "1.1", "anna-1"))


def test_a_foreign_or_broken_dataset_is_left_alone(tmp_path, dataset):
    volume, segmentation = case(tmp_path, "1.1", "anna-1")
    dataset.mkdir()
    (dataset / "dataset.json").write_text("{}")
    with pytest.raises(ExportError, match="made elsewhere"):
        add_case(dataset, volume, segmentation)
    (dataset / "cases.json").write_text("not json")
    with pytest.raises(ExportError, match="cannot be read"):
        add_case(dataset, volume, segmentation)
    assert (dataset / "dataset.json").read_text() == "{}"
