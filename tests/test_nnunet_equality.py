"""Our engine and nnU-Net's own predictor give the same mask for the same model.

The model folder is made by nnU-Net's own planner and trainer and fitted for a few
steps, so that liver and tumour are there to compare.
"""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.nnunet_folder import read_nnunet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of nnU-Net and its packages
]

NAME = "Dataset017_Liver"
LABELS = {"background": 0, "liver": 1, "tumour": 2}
REGIONS = {"background": 0, "liver": [1, 2], "tumour": [2]}
STEPS = 90

CASES = {
    "even": {"spacing": (2.0, 1.3, 1.1), "test": (1.6, 1.5, 1.0)},
    "anisotropic, two folds": {
        "spacing": (5.0, 1.2, 1.1),
        "test": (4.0, 1.4, 1.0),
        "folds": 2,
    },
    "coarse CT for a fine model": {"spacing": (1.5, 1.4, 1.3), "test": (3.6, 1.3, 1.2)},
    "thick CT for a fine model": {"spacing": (1.5, 1.4, 1.3), "test": (6.0, 1.3, 1.2)},
    "coronal, reoriented": {
        "spacing": (1.2, 3.1, 1.3),
        "test": (1.1, 2.6, 1.4),
        "reader": "NibabelIOWithReorient",
    },
    "regions": {"spacing": (2.0, 1.3, 1.1), "test": (1.7, 1.4, 1.2), "labels": REGIONS},
}


def _needs(name):
    return pytest.importorskip(name, reason="needs the extra 'bench' (nnunetv2)")


def _engine():
    name = "napari_liverseg.inference.options"
    return pytest.importorskip(name, reason="needs the engine that runs any model")


def _phantom(spacing, seed):
    """A body with a liver and two tumours, HU and labels, extents in mm the same."""
    shape = tuple(round(e / s) for e, s in zip((90, 110, 120), spacing, strict=True))
    z, y, x = (
        ((np.arange(n) + 0.5) * s).reshape([-1 if i == a else 1 for i in range(3)])
        for a, (n, s) in enumerate(zip(shape, spacing, strict=True))
    )
    body = ((y - 55) / 48) ** 2 + ((x - 60) / 55) ** 2 + 0 * z < 1
    liver = ((z - 48) / 34) ** 2 + ((y - 50) / 30) ** 2 + ((x - 48) / 32) ** 2 < 1
    tumour = ((z - 55) / 12) ** 2 + ((y - 44) / 11) ** 2 + ((x - 40) / 10) ** 2 < 1
    tumour |= ((z - 38) / 8) ** 2 + ((y - 60) / 8) ** 2 + ((x - 62) / 9) ** 2 < 1
    hu = np.select([tumour, liver, body], [45.0, 110.0, 10.0], -1000.0)
    noise = np.random.default_rng(seed).normal(0, 18, shape)
    labels = np.select([tumour, liver], [2, 1], 0).astype(np.uint8)
    return np.round(hu + noise * body).astype(np.int16), labels


def _write(array, spacing, path, flips=(1, 1)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in reversed(spacing)])
    image.SetDirection([flips[0], 0, 0, 0, flips[1], 0, 0, 0, 1])
    sitk.WriteImage(image, str(path))


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Folders as nnU-Net wants them; threads of its export limited to two."""
    _needs("nnunetv2")
    _engine()
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
        home = f"nnUNet_{name}"
        paths = _needs("nnunetv2.paths")
        if isinstance(getattr(paths, home), (str, type(None))):
            monkeypatch.setattr(paths, home, str(tmp_path / name))
    return tmp_path


def _dataset(homes, case):
    """Write a raw dataset of two cases and what nnU-Net measures on them."""
    from nnunetv2.experiment_planning.dataset_fingerprint import fingerprint_extractor
    from nnunetv2.imageio.reader_writer_registry import (
        recursive_find_reader_writer_by_name,
    )

    raw = homes / "raw" / NAME
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    content = {
        "channel_names": {"0": "CT"},
        "labels": case.get("labels", LABELS),
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": case.get("reader", "SimpleITKIO"),
    }
    if "labels" in case:
        content["regions_class_order"] = [1, 2]
    (raw / "dataset.json").write_text(json.dumps(content))
    reader = recursive_find_reader_writer_by_name(
        content["overwrite_image_reader_writer"]
    )
    measured = []
    for index in range(2):
        hu, labels = _phantom(case["spacing"], seed=index)
        image = raw / "imagesTr" / f"case_{index:03d}_0000.nii.gz"
        label = raw / "labelsTr" / f"case_{index:03d}.nii.gz"
        _write(hu, case["spacing"], image)
        _write(labels, case["spacing"], label)
        analyse = fingerprint_extractor.DatasetFingerprintExtractor.analyze_case
        measured.append(analyse([str(image)], str(label), reader, 5000))
    _fingerprint(homes / "preprocessed" / NAME, measured)
    return content


def _fingerprint(folder, measured):
    shapes, spacings, intensities, _, shares = zip(*measured, strict=True)
    values = np.concatenate([np.asarray(channel[0]) for channel in intensities])
    statistics = {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentile_00_5": float(np.percentile(values, 0.5)),
        "percentile_99_5": float(np.percentile(values, 99.5)),
    }
    folder.mkdir(parents=True)
    content = {
        "spacings": [[float(s) for s in spacing] for spacing in spacings],
        "shapes_after_crop": [[int(n) for n in shape] for shape in shapes],
        "foreground_intensity_properties_per_channel": {"0": statistics},
        "median_relative_size_after_cropping": float(np.median(shares)),
    }
    (folder / "dataset_fingerprint.json").write_text(json.dumps(content))


def _plan(case):
    """Let nnU-Net plan a network of its own making, but with few features."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (  # noqa: E501
        ExperimentPlanner,
    )

    planner = ExperimentPlanner(17)
    planner.UNet_base_num_features = 6
    planner.UNet_max_features_3d = 24
    # Small windows, so that several have to be blended.
    planner.UNet_reference_val_3d = 1_500_000
    return planner.plan_experiment()


def _train(homes, plans, dataset, folds):
    """Fit nnU-Net's network with a few steps and save it by its trainer."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    folder = homes / "results" / NAME / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in range(folds):
        (folder / f"fold_{fold}").mkdir(parents=True)
        own = {**json.loads(json.dumps(plans)), "continue_training": False}
        cpu = torch.device("cpu")
        trainer = nnUNetTrainer(own, "3d_fullres", fold, dataset, device=cpu)
        torch.manual_seed(fold)
        trainer.network = nnUNetTrainer.build_network_architecture(
            trainer.plans_manager,
            trainer.configuration_manager,
            1,
            trainer.label_manager.num_segmentation_heads,
            enable_deep_supervision=False,
        )
        trainer.optimizer = torch.optim.Adam(trainer.network.parameters(), 1e-2)
        _fit(trainer, homes / "raw" / NAME)
        trainer.was_initialized = True
        trainer.save_checkpoint(str(folder / f"fold_{fold}" / "checkpoint_final.pth"))
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return folder


def _fit(trainer, raw):
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import (
        DefaultPreprocessor,
    )

    image, labels, _ = DefaultPreprocessor(verbose=False).run_case(
        [str(raw / "imagesTr" / "case_000_0000.nii.gz")],
        str(raw / "labelsTr" / "case_000.nii.gz"),
        trainer.plans_manager,
        trainer.configuration_manager,
        trainer.dataset_json,
    )[:3]
    image, labels = np.asarray(image), np.asarray(labels)
    patch = trainer.configuration_manager.patch_size
    rng = np.random.default_rng(0)
    regions = trainer.label_manager.has_regions
    rare = np.argwhere(labels[0] == max(trainer.label_manager.all_labels))
    # A network in two minds would show what nnU-Net's sums in half precision lose.
    rate = torch.optim.lr_scheduler.LinearLR(trainer.optimizer, 1.0, 0.05, STEPS)
    for _ in range(STEPS):
        middle = rare[rng.integers(len(rare))] + rng.integers(-4, 5, 3)
        box = tuple(
            slice(s := int(np.clip(m - p // 2, 0, max(n - p, 0))), s + p)
            for m, n, p in zip(middle, image.shape[1:], patch, strict=True)
        )
        seen = torch.from_numpy(image[(slice(None), *box)].copy())[None]
        truth = torch.from_numpy(labels[0][box].astype(np.int64)).clamp_(min=0)[None]
        room = [p - n for p, n in zip(patch, truth.shape[1:], strict=True)]
        padding = [v for r in reversed(room) for v in (0, r)]
        seen = torch.nn.functional.pad(seen, padding)
        truth = torch.nn.functional.pad(truth, padding)
        logits = trainer.network(seen)
        if regions:
            wanted = torch.stack([truth > 0, truth > 1], 1).float()
            weight = torch.tensor([1.0, 12.0]).reshape(1, 2, 1, 1, 1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, wanted, pos_weight=weight
            )
        else:
            weight = torch.tensor([1.0, 1.0, 3.0])
            loss = torch.nn.functional.cross_entropy(logits, truth, weight=weight)
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
        rate.step()


def _theirs(folder, path, reader, folds):
    from nnunetv2.imageio.reader_writer_registry import (
        recursive_find_reader_writer_by_name,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(
        str(folder), tuple(range(folds)), "checkpoint_final.pth"
    )
    image, properties = recursive_find_reader_writer_by_name(reader)().read_images(
        [str(path)]
    )
    return np.asarray(predictor.predict_single_npy_array(image, properties))


def _ours(folder, path, reader):
    options = _engine()
    volume = open_ct(path)
    plain = options.RunOptions(look="everywhere", mirror=True, tune=False)
    predictor = Predictor(read_nnunet(folder), "cpu")
    labels = decide(predictor.predict(volume, options=plain)).labels
    if reader == "NibabelIOWithReorient":
        return labels[:, ::-1, ::-1]
    return volume.reorientation.to_stored(labels)


@pytest.mark.parametrize("name", CASES)
def test_masks_equal_those_of_nnunets_own_predictor(homes, name):
    case = CASES[name]
    reader, folds = case.get("reader", "SimpleITKIO"), case.get("folds", 1)
    content = _dataset(homes, case)
    folder = _train(homes, _plan(case), content, folds)
    path = homes / "test.nii.gz"
    hu, _ = _phantom(case["test"], seed=9)
    hu[:3], hu[:, :, -4:] = 0, 0  # to be cropped away
    _write(hu, case["test"], path, flips=(-1, 1))
    theirs, ours = _theirs(folder, path, reader, folds), _ours(folder, path, reader)
    assert theirs.shape == ours.shape
    report = [f"{name}: {read_nnunet(folder).windows.patch} voxels a window"]
    for label, title in ((1, "liver or tumour"), (2, "tumour")):
        a, b = theirs >= label, ours >= label
        assert a.sum() > 500
        dice = 2 * (a & b).sum() / (a.sum() + b.sum())
        differ = (a != b).sum() / a.sum()
        report.append(f"{title}: Dice {dice:.6f}, {100 * differ:.4f} % differ")
        print("; ".join(report))  # noqa: T201
        assert dice >= 0.999
    differ = (theirs != ours).sum() / (theirs > 0).sum()
    print(f"{name}: {100 * differ:.4f} % of foreground voxels differ")  # noqa: T201
    assert differ <= 0.001
