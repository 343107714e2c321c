"""An nnU-Net folder of any size with random weights, as its trainer would leave it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

# The writer of test folders writes any plans that a benchmark needs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import nnunet_case

if TYPE_CHECKING:
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.models.contract import Shape

FEATURES = (32, 64, 128, 256, 320, 320)
"""Of a full-size PlainConvUNet, by stage."""


def write_model(
    home: Path,
    patch: Shape,
    spacing_mm: Triple,
    features: tuple[int, ...] = FEATURES,
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
    return nnunet_case.write_folder(home, [made.state_dict()], plans)
