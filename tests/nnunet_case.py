"""Small nnU-Net v2 model folders, written as nnU-Net writes them, without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

DATASET = "Dataset017_Liver"
PATCH, SPACING = (16, 24, 32), (2.0, 1.5, 1.0)
LABELS = {"background": 0, "liver": 1, "tumour": 2}
STRIDES = [[1, 1, 1], [2, 2, 2], [1, 2, 2]]
KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]


def plans(layout="new", configuration="3d_fullres", network="PlainConvUNet", **changes):
    """Return plans with one configuration and the 2-D one that nnU-Net adds."""
    own = {**_sampling(), **_network(layout, network), **changes}
    flat = {**own, "patch_size": [64, 64], "spacing": [1.0, 1.0]}
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": 99.5,
                "std": 37.1,
                "percentile_00_5": -17.0,
                "percentile_99_5": 201.0,
            }
        },
        "configurations": {"2d": flat, configuration: own},
    }


def _sampling():
    both = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    return {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": list(PATCH),
        "spacing": list(SPACING),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**both, "order": 3},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**both, "order": 1},
    }


def _network(layout, network):
    if layout == "old":
        return {
            "UNet_class_name": network,
            "UNet_base_num_features": 4,
            "unet_max_num_features": 12,
            "n_conv_per_stage_encoder": [1, 1, 1],
            "n_conv_per_stage_decoder": [1, 1],
            "num_pool_per_axis": [1, 2, 2],
            "pool_op_kernel_sizes": STRIDES,
            "conv_kernel_sizes": KERNELS,
        }
    plain = network == "PlainConvUNet"
    return {
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",  # noqa: E501
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [4, 8, 12],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": KERNELS,
                "strides": STRIDES,
                "n_conv_per_stage" if plain else "n_blocks_per_stage": [1, 1, 1],
                "n_conv_per_stage_decoder": [1, 1],
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    }


def dataset(labels=None, **changes):
    """Return the content of dataset.json."""
    content = {
        "channel_names": {"0": "CT"},
        "labels": labels or LABELS,
        "numTraining": 4,
        "file_ending": ".nii.gz",
        "licence": "CC-BY-SA 4.0",
    }
    return {**content, **changes}


def checkpoint(weights, configuration="3d_fullres", trainer="nnUNetTrainer", **changes):
    """Return what nnU-Net's trainer saves, its log with NumPy numbers included."""
    content = {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {
            "ema_fg_dice": [np.float64(0.5), np.float32(0.75)],
            "epoch_start_timestamps": [1.7e9],
            "seen": [np.int64(3), np.bool_(True)],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {
            "configuration": configuration,
            "fold": 0,
            "device": torch.device("cuda"),
            "plans": {"nested": [1, 2.5, None, "text"]},
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    return {**content, **changes}


def write_folder(
    parent: Path,
    weights=(),
    plans_=None,
    dataset_=None,
    name="nnUNetTrainer__nnUNetPlans__3d_fullres",
    **changes,
) -> Path:
    """Write a model folder; `weights` holds the state of each fold's network."""
    folder = parent / DATASET / name
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans_ or plans()))
    (folder / "dataset.json").write_text(json.dumps(dataset_ or dataset()))
    for fold, state in enumerate(weights or ({},)):
        (folder / f"fold_{fold}").mkdir()
        content = checkpoint(state, name.split("__")[-1], name.split("__")[0])
        file = folder / f"fold_{fold}" / "checkpoint_final.pth"
        torch.save({**content, **changes}, file)
    return folder


def random_state(folder, seed=0):
    """Return fresh weights of the network that a folder's plans describe."""
    from napari_liverseg.models.nnunet_folder import read_nnunet
    from napari_liverseg.models.nnunet_network import build_nnunet

    model = read_nnunet(folder)
    network = build_nnunet(model.plans.architecture, model.output.channels)
    network.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    return {name: value.detach() for name, value in network.state_dict().items()}
