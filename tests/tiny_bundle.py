"""Small MONAI bundles with real networks and random weights, written as MONAI does."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import monai.networks.nets as nets
import torch
import yaml

if TYPE_CHECKING:
    from pathlib import Path

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "batch",
}
SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 8,
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
    "dropout_prob": 0.2,
}
SWIN = {
    "_target_": "SwinUNETR",
    "spatial_dims": 3,
    "img_size": 32,
    "in_channels": 1,
    "out_channels": 14,
    "feature_size": 12,
    "depths": [1, 1, 1, 1],
    "use_checkpoint": False,
}
ORGANS = ["background", "spleen", "kidney_right", "kidney_left", "gallbladder"]


def metadata(channels: list[str], **changes) -> dict:
    return {
        "version": "0.1.9",
        "name": "Tiny bundle",
        "authors": "MONAI team",
        "data_source": "nothing: random weights",
        "eval_metrics": {"mean_dice": 0.8},
        "intended_use": "This is an example, not to be used for diagnostic purposes",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}}},
            "outputs": {
                "pred": {
                    "num_channels": len(channels),
                    "channel_def": {str(i): n for i, n in enumerate(channels)},
                }
            },
        },
        **changes,
    }


def transforms(*intensity: dict, pixdim=(1.5, 1.5, 2.0), axcodes="RAS") -> list:
    named = (
        {"_target_": "LoadImaged", "reader": "ITKReader"},
        {"_target_": "EnsureChannelFirstd"},
        {"_target_": "Orientationd", "axcodes": axcodes},
        {
            "_target_": "Spacingd",
            "pixdim": pixdim if isinstance(pixdim, str) else list(pixdim),
            "mode": "bilinear",
        },
        *intensity,
        {"_target_": "EnsureTyped", "device": "@device"},
    )
    return [{"keys": "image", **step} for step in named]


RANGE = {
    "_target_": "ScaleIntensityRanged",
    "a_min": -175,
    "a_max": 250,
    "b_min": 0.0,
    "b_max": 1.0,
    "clip": True,
}


def config(network: dict, steps: list, **changes) -> dict:
    """Return an inference config as the model zoo writes them, code and all."""
    device = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
    content = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/imagesTs/*.nii.gz')))",
        "device": device,
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [32, 32, 32],
            "sw_batch_size": 4,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dtype": "$numpy.float32",
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "run": ["$@evaluator.run()"],
    }
    return {**copy.deepcopy(content), **changes}


def build(network: dict, seed=0) -> torch.nn.Module:
    """Build what a definition names with MONAI itself."""
    kind = getattr(nets, network["_target_"].rpartition(".")[2])
    arguments = {k: v for k, v in network.items() if k not in ("_target_", "img_size")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(**arguments).eval()


def write_bundle(
    folder: Path, said: dict, inference: dict, weights=None, *, as_yaml=False
) -> Path:
    """Write a bundle; without weights those of `build` are saved."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(said, indent=4))
    if as_yaml:
        text = yaml.safe_dump(inference, sort_keys=False)
        (folder / "configs" / "inference.yaml").write_text(text)
    else:
        text = json.dumps(inference, indent=4)
        (folder / "configs" / "inference.json").write_text(text)
    if weights is None:
        weights = build(inference["network_def"]).state_dict()
    torch.save(weights, folder / "models" / "model.pt")
    return folder


def unet_bundle(folder: Path, **changes) -> Path:
    """Write a UNet of three labels; `changes` are entries of its inference config."""
    steps = changes.pop("steps", transforms(RANGE))
    weights = changes.pop("weights", None)
    names = changes.pop("channels", ["background", "liver", "tumor"])
    content = config(changes.pop("network", UNET), steps, **changes)
    return write_bundle(folder, metadata(names), content, weights)


def whole_body_bundle(folder: Path) -> Path:
    """Write a bundle like wholeBody_ct_segmentation: expressions and statistics."""
    steps = transforms(
        {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
        {
            "_target_": "ScaleIntensityd",
            "keys": "@image_key",
            "minv": -1.0,
            "maxv": 1.0,
        },
        pixdim="@pixdim",
    )
    content = config(
        SEGRESNET,
        steps,
        displayable_configs={"highres": True, "sw_overlap": 0.25, "sw_batch_size": 1},
        pixdim="$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        modelname="$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        inferer={
            "_target_": "SlidingWindowInferer",
            "roi_size": [32, 32, 32],
            "sw_batch_size": "@displayable_configs#sw_batch_size",
            "overlap": "@displayable_configs#sw_overlap",
            "padding_mode": "replicate",
            "mode": "gaussian",
            "device": "$torch.device('cpu')",
        },
        handlers=[{"_target_": "StatsHandler"}],
        checkpointloader={
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/' + @modelname",
            "load_dict": {"model": "@network"},
        },
    )
    names = [*ORGANS, "liver", "stomach", "aorta"]
    return write_bundle(folder, metadata(names), content)


def swin_bundle(folder: Path) -> Path:
    """Write a bundle like swin_unetr_btcv_segmentation, with its dropped argument."""
    names = [*ORGANS, "esophagus", "liver", *(f"organ {i}" for i in range(7, 14))]
    return write_bundle(folder, metadata(names), config(SWIN, transforms(RANGE)))
