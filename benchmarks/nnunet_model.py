"""An nnU-Net folder of any size, as its trainer would leave it, with random weights.

Random labels hang by a hair and tell nothing of what rounding does to a mask. So the
network can be taught a phantom for a minute; how well it knows livers says nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

# The writer of test folders writes any plans that a benchmark needs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import nnunet_case
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.training.two_planes import mend_two_planes

if TYPE_CHECKING:
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.models.contract import Shape
    from napari_liverseg.synthesis.phantom import Phantom

FEATURES = (32, 64, 128, 256, 320, 320)
"""Of a full-size PlainConvUNet, by stage."""

LESSON = 120
"""Steps of teaching: liver and tumour are told apart after fewer."""


@torch.inference_mode(mode=False)
def write_model(
    home: Path,
    patch: Shape,
    spacing_mm: Triple,
    features: tuple[int, ...] = FEATURES,
    teacher: Phantom | None = None,
    device: str = "cpu",
) -> Path:
    """Write the folder of a PlainConvUNet and return it.

    Parameters
    ----------
    home : Path
    patch : tuple of int
        Voxels of a window, ``(z, y, x)``.
    spacing_mm : tuple of float
    features : tuple of int
        Of each stage; resolution halves from each to the next, along z not the
        last time.
    teacher : Phantom or None
        What the network is taught, on the grid of `spacing_mm`; None leaves it random.
    device : str
        Where it is taught.
    """
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    again = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    plans = nnunet_case.plans(
        patch_size=list(patch),
        spacing=list(spacing_mm),
        resampling_fn_seg="resample_data_or_seg_to_shape",
        resampling_fn_seg_kwargs=again,
    )
    network = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    stages = len(features)
    network.update(
        n_stages=stages,
        features_per_stage=list(features),
        kernel_sizes=[[3, 3, 3]] * stages,
        strides=[[1, 1, 1], *[[2, 2, 2]] * (stages - 2), [1, 2, 2]],
        n_conv_per_stage=[2] * stages,
        n_conv_per_stage_decoder=[2] * (stages - 1),
    )
    torch.manual_seed(0)
    made = PlainConvUNet(
        1, stages, list(features), torch.nn.Conv3d, network["kernel_sizes"],
        network["strides"], network["n_conv_per_stage"], 3,
        network["n_conv_per_stage_decoder"], conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )  # fmt: skip
    if teacher is not None:
        intensity = plans["foreground_intensity_properties_per_channel"]["0"]
        parts = tuple(max(n // 2, 16) for n in patch)
        _teach(made.to(device), teacher, intensity, parts)
        made.cpu()
    return nnunet_case.write_folder(home, [made.state_dict()], plans)


def _teach(
    network: torch.nn.Module,
    phantom: Phantom,
    intensity: dict[str, float],
    patch: tuple[int, ...],
) -> None:
    """Train a network on parts of a phantom: on liver, on tumour and anywhere."""
    device = next(network.parameters()).device
    hu = torch.from_numpy(phantom.volume.hu.astype(np.float32)).to(device)
    hu = hu.clamp(intensity["percentile_00_5"], intensity["percentile_99_5"])
    image = (hu - intensity["mean"]) / intensity["std"]
    labels = torch.from_numpy(phantom.truth.labels.astype(np.int64)).to(device)
    centres = [torch.nonzero(labels >= least) for least in (1, 2, 0)]
    optimiser: Any = torch.optim.AdamW(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, LESSON)
    draw = np.random.default_rng(0)
    half = multiplies_bf16(str(device))
    mend_two_planes(network)
    for step in range(LESSON):
        among = centres[step % len(centres)]
        centre = among[int(draw.integers(len(among)))].tolist()
        first = [
            min(max(c - p // 2, 0), n - p)
            for c, p, n in zip(centre, patch, labels.shape, strict=True)
        ]
        part = tuple(slice(f, f + p) for f, p in zip(first, patch, strict=True))
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = network(image[part][None, None])[0]
        loss = functional.cross_entropy(logits.float(), labels[part][None])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        rate.step()
