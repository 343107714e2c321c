"""Weights that TotalSegmentator has put on this disk are found, and said to be its."""

import pytest

from napari_liverseg.models import totalsegmentator as module
from napari_liverseg.models.totalsegmentator import (
    TASKS,
    discover,
    installed_tasks,
    weights_folder,
)
from nnunet_case import DATASET, dataset, write_folder

ORGANS = {"background": 0, "spleen": 1, "kidney_right": 2, "liver": 3}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv(module.WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def _put(root, tmp_path, name, labels, trainer="nnUNetTrainerNoMirroring"):
    """Write a folder and move it to where TotalSegmentator's downloads lie."""
    config = f"{trainer}__nnUNetPlans__3d_fullres"
    written = write_folder(tmp_path / name, dataset_=dataset(labels), name=config)
    (tmp_path / name / DATASET).rename(root / name)
    return root / name / written.name


def test_its_variables_are_asked_in_its_own_order(tmp_path, monkeypatch):
    monkeypatch.delenv(module.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.delenv(module.HOME_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert weights_folder() == tmp_path / ".totalsegmentator" / "nnunet" / "results"
    monkeypatch.setenv(module.HOME_VARIABLE, str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home" / "nnunet" / "results"
    monkeypatch.setenv(module.WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    assert weights_folder() == tmp_path / "weights"
    assert discover() == module.Discovered((), ())


def test_known_tasks_are_listed_with_licence_and_warning(root, tmp_path):
    folder = _put(root, tmp_path, TASKS[0].dataset, ORGANS)
    found = discover()
    assert found.broken == ()
    (model,) = found.models
    assert model.folder == folder
    assert model.title == "TotalSegmentator total (liver, 1.5 mm)"
    assert "not a medical device" in model.notice
    assert "not a medical device" in model.card
    assert "Apache-2.0" in model.card
    assert (model.output.liver, model.output.tumour) == ((3,), ())
    assert [task.name for task in installed_tasks()] == ["total"]


def test_its_networks_see_ras_whatever_the_plans_reader(root, tmp_path):
    _put(root, tmp_path, TASKS[1].dataset, ORGANS)
    (model,) = discover().models
    assert model.input.orientation == "RAS"


def test_segments_together_are_the_liver(root, tmp_path):
    segments = {f"liver_segment_{i}": i for i in range(1, 9)}
    _put(root, tmp_path, "Dataset570_ct_liver_segments", {"background": 0, **segments})
    (model,) = discover().models
    assert model.output.liver == tuple(range(1, 9))


def test_lesions_without_a_liver_are_told_not_run(root, tmp_path):
    name = "Dataset591_ct_liver_lesions_842subj"
    _put(root, tmp_path, name, {"background": 0, "liver_lesions": 1}, "nnUNetTrainer")
    _put(
        root, tmp_path, "Dataset292_TotalSegmentator_part2", {"background": 0, "c1": 1}
    )
    found = discover()
    assert found.models == ()
    (error,) = found.broken
    assert "'liver_lesions' was left out" in error.found
    assert "no liver" in error.found
