"""B3, B5: an nnU-Net folder here and at home, and its logits on the way back.

Needs the extra 'bench'; docs/nnunet.md has a command that does without timm.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import nnunetv2  # noqa: F401 - missing, it is told before anything is made
import numpy as np
import SimpleITK as sitk
import torch

from benchmarks.ratio import Row, interleave
from napari_liverseg.inference.native_grid import to_native_grid
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import Frame
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.contract import Output
from napari_liverseg.models.nnunet_folder import read_nnunet
from napari_liverseg.synthesis.phantom import make_phantom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import nnunet_case

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPEATS = 2
"""A side takes minutes."""

STAGES = 6
FEATURES = [32, 64, 128, 256, 320, 320]
PATCH, SPACING_MM = [64, 128, 128], [2.0, 1.5, 1.5]
SHAPE = (96, 192, 192)
NATIVE, LOGITS = (300, 512, 512), (300, 273, 273)


def main() -> list[Row]:
    """Return B3 and B5."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        return [_whole_call(Path(folder)), _way_back()]


def _whole_call(home: Path) -> Row:
    folder = _model(home)
    path = home / "ct.nii.gz"
    volume = make_phantom(5150, SHAPE, (2.0, 1.5, 1.5)).volume
    image = sitk.GetImageFromArray(volume.hu)
    image.SetSpacing(SPACING_MM[::-1])
    sitk.WriteImage(image, str(path))
    theirs, properties, array = _predictor(folder, path)
    ours = Predictor(read_nnunet(folder), "cpu")
    opened = open_ct(path)
    found: dict[str, NDArray[np.uint8]] = {}

    def here() -> None:
        result = ours.predict(opened, options=RunOptions(look="body"))
        mask = np.zeros(opened.hu.shape, np.uint8)
        mask[result.box] = result.decision
        found["ours"] = opened.reorientation.to_stored(mask)

    def at_home() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = theirs.predict_single_npy_array(array, properties)
        found["theirs"] = np.asarray(answer, np.uint8)

    here()  # what is measured once on a computer is measured now
    pairs = interleave(here, at_home, REPEATS)
    inside = opened.reorientation.to_stored(opened.hu) > -300
    a, b = found["ours"] > 0, found["theirs"] > 0
    a, b = a & inside, b & inside
    dice = (
        2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1)
    )
    gate = f"Dice {dice:.5f} inside the body (random weights)"
    return Row(
        "B3", "nnU-Net PlainConvUNet folder (32..320), no mirroring, whole call",
        "nnUNetPredictor", ">= 3x", *pairs.faster(), gate, dice >= 0.999, REPEATS,
    )  # fmt: skip


def _model(home: Path) -> Path:
    again = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    plans = nnunet_case.plans(
        patch_size=PATCH,
        spacing=SPACING_MM,
        resampling_fn_seg="resample_data_or_seg_to_shape",
        resampling_fn_seg_kwargs=again,
    )
    network = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    network.update(
        n_stages=STAGES,
        features_per_stage=FEATURES,
        kernel_sizes=[[3, 3, 3]] * STAGES,
        strides=[[1, 1, 1], *[[2, 2, 2]] * 4, [1, 2, 2]],
        n_conv_per_stage=[2] * STAGES,
        n_conv_per_stage_decoder=[2] * (STAGES - 1),
    )
    torch.manual_seed(0)
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    made = PlainConvUNet(
        1, STAGES, FEATURES, torch.nn.Conv3d, network["kernel_sizes"],
        network["strides"], network["n_conv_per_stage"], 3,
        network["n_conv_per_stage_decoder"], conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )  # fmt: skip
    return nnunet_case.write_folder(home, [made.state_dict()], plans)


def _predictor(folder: Path, path: Path) -> tuple[object, object, object]:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(
        str(folder), (0,), "checkpoint_final.pth"
    )
    array, properties = SimpleITKIO().read_images([str(path)])
    return predictor, properties, np.asarray(array)


def our_way_back(logits: torch.Tensor) -> NDArray[np.uint8]:
    """Return the mask on the CT's grid that we make of logits."""
    whole = tuple(slice(0, n) for n in NATIVE)
    kept = tuple(slice(0, n) for n in LOGITS)
    ways = ("linear",) * 3
    frame = Frame((0, 1, 2), (False,) * 3, whole, LOGITS, kept, ways)
    output = Output(3, (1,), (2,))
    belief = to_native_grid(logits, output, frame, largest_only=False)
    mask = np.zeros(NATIVE, np.uint8)
    mask[belief.box] = belief.decision
    return mask


def their_way_back(logits: torch.Tensor) -> NDArray[np.uint8]:
    """Return the mask that nnU-Net's resampling and argmax make of logits."""
    from nnunetv2.preprocessing.resampling.default_resampling import (
        resample_data_or_seg_to_shape,
    )

    fine = resample_data_or_seg_to_shape(
        logits.numpy(), NATIVE, (1.0, 1.5, 1.5), (1.0, 0.8, 0.8),
        is_seg=False, order=1, order_z=0, force_separate_z=None,
    )  # fmt: skip
    return np.argmax(fine, axis=0).astype(np.uint8)


def _way_back() -> Row:
    logits = smooth_logits()
    found: dict[str, NDArray[np.uint8]] = {}

    def here() -> None:
        found["ours"] = our_way_back(logits)

    def at_home() -> None:
        found["theirs"] = their_way_back(logits)

    pairs = interleave(here, at_home, REPEATS)
    a, b = found["ours"], found["theirs"]
    differ = np.count_nonzero(a != b) / np.count_nonzero(b)
    gate = f"{100 * differ:.4f} % of the foreground differ (at most 0.1 %)"
    return Row(
        "B5", "3-class logits at 1.5 mm to a 512x512x300 mask",
        "nnU-Net's resampling and argmax", ">= 6x", *pairs.faster(), gate,
        differ <= 0.001, REPEATS,
    )  # fmt: skip


def smooth_logits() -> torch.Tensor:
    """Return logits of background, a liver and a tumour, on the model's grid."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in LOGITS)]
    wave = 0.6 * np.sin(9 * z) * np.cos(11 * y) * np.sin(10 * x)
    liver = 8 * (0.5 - np.sqrt(z**2 / 0.9 + (y + 0.1) ** 2 + (x + 0.2) ** 2)) + wave
    tumour = liver + 9 * (0.25 - np.sqrt(z**2 + y**2 + (x + 0.2) ** 2)) + wave
    return torch.from_numpy(np.stack([np.zeros_like(liver), liver, tumour])).float()
