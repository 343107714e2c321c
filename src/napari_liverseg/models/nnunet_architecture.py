"""The network that nnU-Net's plans describe, in either of their layouts, checked.

Plans name Python classes by their paths. Nothing is imported by such a name:
the names are compared with the few that are understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from napari_liverseg.models.foreign_file import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

PLANS = "plans.json"

PACKAGE = "dynamic_network_architectures.architectures."
"""Where the classes of networks live, whatever the module inside of it."""

OPTIONS = {
    "conv_op": ("Conv3d",),
    "norm_op": ("InstanceNorm3d", "BatchNorm3d"),
    "dropout_op": ("Dropout3d",),
    "nonlin": ("LeakyReLU", "ReLU", "GELU", "SiLU"),
}
"""Classes of `torch.nn` that plans may name, by the argument that names them."""

Numbers = dict[str, FiniteFloat | bool | None]
Depth = Annotated[int, Field(ge=1, le=16)]


class Architecture(BaseModel):
    """The arguments of a 3-D U-Net of `dynamic_network_architectures`.

    Sizes are bounded, so that plans cannot ask for more memory than any
    published network. Per stage: `features_per_stage`, `kernel_sizes`,
    `strides`, and the depth of encoder and decoder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    n_stages: int = Field(ge=2, le=10)
    features_per_stage: tuple[Annotated[int, Field(ge=1, le=2048)], ...]
    kernel_sizes: tuple[tuple[int, int, int], ...]
    strides: tuple[tuple[int, int, int], ...]
    depth: tuple[Depth, ...]
    n_conv_per_stage_decoder: tuple[Depth, ...]
    conv_bias: bool = False
    conv_op: Literal["Conv3d"] = "Conv3d"
    norm_op: Literal["InstanceNorm3d", "BatchNorm3d"] | None = None
    norm_op_kwargs: Numbers | None = None
    dropout_op: Literal["Dropout3d"] | None = None
    dropout_op_kwargs: Numbers | None = None
    nonlin: Literal["LeakyReLU", "ReLU", "GELU", "SiLU"] | None = None
    nonlin_kwargs: Numbers | None = None
    nonlin_first: bool = False
    stem_channels: int | None = Field(default=None, ge=1, le=2048)

    @property
    def reduction(self) -> tuple[int, int, int]:
        """How many voxels of the input lie in one of the deepest, per axis."""
        z = y = x = 1
        for dz, dy, dx in self.strides:
            z, y, x = z * dz, y * dy, x * dx
        return z, y, x

    @model_validator(mode="after")
    def _fits(self) -> Self:
        lengths = {
            "features_per_stage": (len(self.features_per_stage), self.n_stages),
            "kernel_sizes": (len(self.kernel_sizes), self.n_stages),
            "strides": (len(self.strides), self.n_stages),
            "n_conv_per_stage": (len(self.depth), self.n_stages),
            "n_conv_per_stage_decoder": (
                len(self.n_conv_per_stage_decoder),
                self.n_stages - 1,
            ),
        }
        for name, (found, wanted) in lengths.items():
            if found != wanted:
                msg = f"{name} has {found} entries, not {wanted}"
                raise ValueError(msg)
        if not all(k in (1, 3, 5, 7) for kernel in self.kernel_sizes for k in kernel):
            msg = "kernel_sizes must be 1, 3, 5 or 7"
            raise ValueError(msg)
        if not all(1 <= s <= 4 for stride in self.strides for s in stride):
            msg = "strides must be 1 to 4"
            raise ValueError(msg)
        return self


def read_architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `Architecture` takes, from a configuration of either layout.

    Parameters
    ----------
    configuration : mapping
        Of `plans.json`, its inheritance resolved.

    Raises
    ------
    ModelError
        When a class is not among those that are understood.
    """
    if "architecture" not in configuration:
        return _old_layout(configuration)
    described = configuration["architecture"]
    if not isinstance(described, dict):
        raise refused(PLANS, "architecture is no object")
    arguments = described.get("arch_kwargs")
    if not isinstance(arguments, dict):
        raise refused(PLANS, "arch_kwargs is no object")
    path = str(described.get("network_class_name", ""))
    if not path.startswith(PACKAGE):
        raise _unknown_network(path)
    taken = dict(arguments)
    # Read from each stage while training alone; a network that infers has one output.
    taken.pop("deep_supervision", None)
    for name, allowed in OPTIONS.items():
        taken[name] = _torch_class(name, taken.get(name), allowed)
    network = path.rpartition(".")[2]
    taken["depth"] = taken.pop(_depth_name(network), None)
    return _spread({**taken, "network": network})


def _old_layout(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Read plans from before nnU-Net 2.2, which had one fixed kind of layers."""
    network = str(configuration.get("UNet_class_name", ""))
    _depth_name(network)
    depth = configuration.get("n_conv_per_stage_encoder")
    first, most = (
        _count(configuration.get(name), name)
        for name in ("UNet_base_num_features", "unet_max_num_features")
    )
    if not isinstance(depth, list):
        raise refused(PLANS, "n_conv_per_stage_encoder is no list")
    stages = range(min(len(depth), 32))
    return {
        "network": network,
        "n_stages": len(depth),
        "features_per_stage": [min(first * 2**i, most) for i in stages],
        "kernel_sizes": configuration.get("conv_kernel_sizes"),
        "strides": configuration.get("pool_op_kernel_sizes"),
        "depth": depth,
        "n_conv_per_stage_decoder": configuration.get("n_conv_per_stage_decoder"),
        "conv_bias": True,
        "norm_op": "InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _depth_name(network: str) -> str:
    if network == "PlainConvUNet":
        return "n_conv_per_stage"
    if network == "ResidualEncoderUNet":
        return "n_blocks_per_stage"
    raise _unknown_network(network)


def _torch_class(name: str, path: object, allowed: tuple[str, ...]) -> str | None:
    """Return the bare name of one of the classes of `torch.nn` that are allowed."""
    if path is None:
        return None
    module, _, bare = str(path).rpartition(".")
    if not f"{module}.".startswith("torch.nn.") or bare not in allowed:
        reason = f"{name} is '{str(path)[:80]}', which is none of {', '.join(allowed)}"
        raise refused(PLANS, reason, "Use a model with nnU-Net's own layers.")
    return bare


def _spread(arguments: dict[str, Any]) -> dict[str, Any]:
    """Write numbers that hold for every stage once for each."""
    stages = min(_count(arguments.get("n_stages"), "n_stages"), 32)
    for name in ("features_per_stage", "depth", "kernel_sizes", "strides"):
        value = arguments.get(name)
        if isinstance(value, int):
            arguments[name] = [value] * stages
    decoder = arguments.get("n_conv_per_stage_decoder")
    if isinstance(decoder, int):
        arguments["n_conv_per_stage_decoder"] = [decoder] * (stages - 1)
    for name in ("kernel_sizes", "strides"):
        value = arguments.get(name)
        if isinstance(value, list):
            arguments[name] = [[v] * 3 if isinstance(v, int) else v for v in value]
    return arguments


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or value < 1:
        raise refused(PLANS, f"{name} is no number above 0")
    return value


def _unknown_network(path: str) -> Exception:
    reason = (
        f"its network '{path[:80]}' is neither PlainConvUNet nor ResidualEncoderUNet"
    )
    return refused(PLANS, reason, "Use a model with nnU-Net's own network.")
