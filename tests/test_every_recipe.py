"""Every bundled recipe that draws masks, trained for minutes and used in the window."""

import numpy as np
import pytest
import SimpleITK as sitk

from dock_case import open_with_model, segment
from napari_liverseg.cli import main

pytestmark = [pytest.mark.gui, pytest.mark.slow]

SLICES = "spacing_mm=[6,3,3] patch=[1,96,128] batch=8 optimiser.rate=1e-3"
RECIPES = {
    "unet2d": "spacing_mm=[6,4,4] patch=[1,80,112] batch=8 optimiser.rate=2e-3",
    "resnet50-unet": SLICES,
    "two-stage": SLICES,
    "unet3d": "spacing_mm=[5,4,4] patch=[32,64,96] batch=1",
    "liver3d": "spacing_mm=[5,5,5] patch=[48,64,80] batch=1",
}
COMMON = "folds=1 epochs=500 steps_per_epoch=20 validate_every=500 precision=fp32"
MINUTES = "2.5"
LEAST_DICE = 0.7
"""Of the liver, in a phantom that no training saw: it learns, no more is said."""


def draw(folder, count, seed):
    words = f"phantoms -o {folder} --count {count} --seed {seed} --voxel-mm 4"
    assert main(words.split()) == 0
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("phantoms") / "set", 5, 50_101)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("phantoms") / "unseen", 1, 80_101)
    (ct,), (labels,) = folder.glob("imagesTr/*"), folder.glob("labelsTr/*")
    return ct, sitk.GetArrayFromImage(sitk.ReadImage(str(labels))) > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_learns_and_segments_in_the_window(
    recipe, data, unseen, tmp_path, make_dock, qtbot, capsys
):
    words = ["train", recipe, "--data", str(data), "-o", str(tmp_path / "run")]
    words += ["--max-minutes", MINUTES, "--device", "cpu"]
    for setting in f"{COMMON} {RECIPES[recipe]}".split():
        words += ["--set", setting]
    assert main(words) == 0, capsys.readouterr().err
    name = capsys.readouterr().out.split("It is listed as '")[1].split("'")[0]
    ct, truth = unseen
    dock = open_with_model(qtbot, make_dock(show=True), ct, name)
    segment(qtbot, dock)
    found = dock.session.masks.segmentation().labels > 0
    dice = 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum())
    assert dice > LEAST_DICE
