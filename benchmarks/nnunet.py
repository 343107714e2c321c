"""B3, B5: an nnU-Net folder here and at home, and its logits on the way back.

Needs the extra 'bench'; docs/nnunet.md has a command that does without timm.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nnunetv2  # noqa: F401 - missing, it is told before anything is made
import numpy as np
import SimpleITK as sitk
import torch

from benchmarks.engine import labels_dice
from benchmarks.nnunet_model import FEATURES, write_model
from benchmarks.ratio import Row, interleave
from benchmarks.setting import ON_CPU, Setting
from napari_liverseg.inference.frame import Frame
from napari_liverseg.inference.native_grid import to_native_grid
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.contract import Output
from napari_liverseg.models.nnunet_folder import read_nnunet
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.models.contract import Shape

REPEATS = 2
"""A side takes minutes."""

SIDES = ("ours", "theirs")

PATCH, SPACING_MM = (64, 128, 128), (2.0, 1.5, 1.5)
SHAPE = (96, 192, 192)
TINY_PATCH, TINY_SPACING_MM = (16, 16, 16), (8.0, 8.0, 8.0)
TINY_SHAPE, TINY_FEATURES = (36, 44, 51), (4, 8, 8)
NATIVE, LOGITS = (300, 512, 512), (300, 273, 273)
TINY_NATIVE, TINY_LOGITS = (30, 52, 52), (30, 28, 28)


def whole_call(setting: Setting = ON_CPU) -> Row:
    """B3: from a CT to its mask with an nnU-Net folder."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as home:
        return _whole_call(Path(home), setting)


def _whole_call(home: Path, setting: Setting) -> Row:
    spacing_mm = setting.pick(SPACING_MM, TINY_SPACING_MM)
    features = setting.pick(FEATURES, TINY_FEATURES)
    repeats = setting.repeats(REPEATS)
    phantom = make_phantom(5150, setting.pick(SHAPE, TINY_SHAPE), spacing_mm)
    patch = setting.pick(PATCH, TINY_PATCH)
    folder = write_model(home, patch, spacing_mm, features, phantom, setting.device)
    path = home / "ct.nii.gz"
    image = sitk.GetImageFromArray(phantom.volume.hu)
    image.SetSpacing(spacing_mm[::-1])
    sitk.WriteImage(image, str(path))
    theirs, properties, array = _predictor(folder, path, setting.device)
    ours = Predictor(read_nnunet(folder), setting.device)
    opened = open_ct(path)
    found: dict[str, Any] = {}

    def run() -> None:
        result = ours.predict(opened, options=RunOptions(look="body"))
        mask = np.zeros(opened.hu.shape, np.uint8)
        mask[result.box] = result.decision
        found["ours"] = opened.reorientation.to_stored(mask)
        found["recipe"] = result.run.recipe

    def at_home() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = theirs.predict_single_npy_array(array, properties)
        found["theirs"] = np.asarray(answer, np.uint8)

    run()  # what is measured once on a computer is measured now
    pairs = interleave(run, at_home, repeats, setting.device)
    inside = opened.reorientation.to_stored(opened.hu) > -300
    both = [torch.from_numpy(found[side][inside]) for side in SIDES]
    same = labels_dice(*both)
    gate = f"Dice {same:.5f} of all labels in the body ({found['recipe']})"
    return Row(
        "B3", "nnU-Net PlainConvUNet folder (32..320), no mirroring, whole call",
        "nnUNetPredictor", ">= 3x", *pairs.faster(), gate, same >= 0.999, repeats,
        pairs.peaks(),
    )  # fmt: skip


def _predictor(folder: Path, path: Path, device: str) -> tuple[Any, Any, Any]:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=False, device=torch.device(device), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(
        str(folder), (0,), "checkpoint_final.pth"
    )
    array, properties = SimpleITKIO().read_images([str(path)])
    return predictor, properties, np.asarray(array)


def our_way_back(logits: torch.Tensor, native: Shape = NATIVE) -> NDArray[np.uint8]:
    """Return the mask on the CT's grid that we make of logits."""
    z, y, x = logits.shape[1:]
    whole = tuple(slice(0, n) for n in native)
    kept = tuple(slice(0, n) for n in (z, y, x))
    ways = ("linear",) * 3
    frame = Frame((0, 1, 2), (False,) * 3, whole, (z, y, x), kept, ways)
    output = Output(3, (1,), (2,))
    belief = to_native_grid(logits, output, frame, largest_only=False)
    mask = np.zeros(native, np.uint8)
    mask[belief.box] = belief.decision
    return mask


def their_way_back(logits: torch.Tensor, native: Shape = NATIVE) -> NDArray[np.uint8]:
    """Return the mask that nnU-Net's resampling and argmax make of logits."""
    from nnunetv2.preprocessing.resampling.default_resampling import (
        resample_data_or_seg_to_shape,
    )

    fine = resample_data_or_seg_to_shape(
        logits.cpu().numpy(), native, (1.0, 1.5, 1.5), (1.0, 0.8, 0.8),
        is_seg=False, order=1, order_z=0, force_separate_z=None,
    )  # fmt: skip
    return np.argmax(fine, axis=0).astype(np.uint8)


def way_back(setting: Setting = ON_CPU) -> Row:
    """B5: logits, where the network has left them, to a mask on the CT's grid."""
    native = setting.pick(NATIVE, TINY_NATIVE)
    logits = smooth_logits(setting.pick(LOGITS, TINY_LOGITS)).to(setting.device)
    repeats = setting.repeats(REPEATS)
    found: dict[str, NDArray[np.uint8]] = {}

    def here() -> None:
        found["ours"] = our_way_back(logits, native)

    def at_home() -> None:
        found["theirs"] = their_way_back(logits, native)

    pairs = interleave(here, at_home, repeats)  # both end on the processor
    a, b = found["ours"], found["theirs"]
    differ = np.count_nonzero(a != b) / np.count_nonzero(b)
    gate = f"{100 * differ:.4f} % of the foreground differ (at most 0.1 %)"
    return Row(
        "B5", "3-class logits at 1.5 mm to a 512x512x300 mask",
        "nnU-Net's resampling and argmax", ">= 6x", *pairs.faster(), gate,
        differ <= 0.001, repeats, pairs.peaks(),
    )  # fmt: skip


def smooth_logits(shape: Shape = LOGITS) -> torch.Tensor:
    """Return logits of background, a liver and a tumour, on the model's grid."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in shape)]
    wave = 0.6 * np.sin(9 * z) * np.cos(11 * y) * np.sin(10 * x)
    liver = 8 * (0.5 - np.sqrt(z**2 / 0.9 + (y + 0.1) ** 2 + (x + 0.2) ** 2)) + wave
    tumour = liver + 9 * (0.25 - np.sqrt(z**2 + y**2 + (x + 0.2) ** 2)) + wave
    return torch.from_numpy(np.stack([np.zeros_like(liver), liver, tumour])).float()
