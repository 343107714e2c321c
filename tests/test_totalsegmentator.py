"""Weights that TotalSegmentator has put on this disk are found, and said to be its."""

import pytest

from napari_liverseg.models import totalsegmentator as module
from napari_liverseg.models.store import find_model
from napari_liverseg.models.totalsegmentator import (
    TASKS,
    discover,
    installed_tasks,
    task_of,
    weights_folder,
)
from nnunet_case import DATASET, dataset, plans, write_folder

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


LESIONS = "Dataset591_ct_liver_lesions_842subj"


def test_lesions_are_looked_for_in_the_liver_that_another_model_finds(root, tmp_path):
    labels = {"background": 0, "liver_lesions": 1}
    folder = _put(root, tmp_path, LESIONS, labels, "nnUNetTrainer")
    _put(
        root, tmp_path, "Dataset292_TotalSegmentator_part2", {"background": 0, "c1": 1}
    )
    (lesions,) = discover().models
    assert (lesions.output.liver, lesions.output.tumour) == ((), (1,))
    alone = find_model(lesions.name)
    assert alone.finder.name == "starter-3mm"
    assert alone.folder == folder
    fast = TASKS[1]
    _put(root, tmp_path, fast.dataset, ORGANS)
    both = find_model(lesions.name)
    assert task_of(both.finder) == fast
    assert both.sha256 != alone.sha256
    assert both.liver == "finder"
    assert "in the liver of TotalSegmentator total_fast" in both.title
    assert "not a medical device" in both.notice
    for stage in (both.finder, both.detail):
        assert stage.card in both.card


def test_weights_that_were_put_elsewhere_are_known_by_their_plans(tmp_path):
    config = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    made = plans()
    made["dataset_name"] = TASKS[0].dataset
    folder = write_folder(
        tmp_path / "any", dataset_=dataset(ORGANS), plans_=made, name=config
    )
    model = find_model(folder)
    assert task_of(model) == TASKS[0]
    assert model.input.orientation == "RAS"
    assert "not a medical device" in model.notice
