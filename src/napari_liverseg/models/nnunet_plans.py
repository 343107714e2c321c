"""What nnU-Net's plans say of one configuration, or why it cannot be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from napari_liverseg.models.contract import Input, Normalisation
from napari_liverseg.models.foreign_file import first_fault, refused
from napari_liverseg.models.nnunet_architecture import Architecture, read_architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_liverseg.models.contract import Shape

FILE = "plans.json"

READERS: dict[str, Literal["RAS", "stored"]] = {
    "NibabelIOWithReorient": "RAS",
    "SimpleITKIO": "stored",
    "NibabelIO": "stored",
    "SimpleITKIOWithReorient": "RAS",
}
"""The axes of an array as nnU-Net's readers hand it over."""

RESAMPLING = "resample_data_or_seg_to_shape"
MAX_PATCH_VOXELS = 300**3
MAX_INHERITANCE = 8
OTHER_CONFIGURATION = "Choose a 3-D configuration without a cascade."

Voxels = Annotated[int, Field(ge=1, le=1024)]
Spacing = Annotated[float, Field(gt=0.05, le=20, allow_inf_nan=False)]


@dataclass(frozen=True)
class Plans:
    """One configuration of `plans.json`, checked.

    Parameters
    ----------
    configuration, name : str
        What the configuration and the plans are called.
    dataset : str
        What the plans were made for.
    input : Input
    patch : tuple of int
        Voxels of a window, along the network's axes.
    architecture : Architecture
    """

    configuration: str
    name: str
    dataset: str
    input: Input
    patch: Shape
    architecture: Architecture


class _Intensities(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    mean: FiniteFloat
    std: FiniteFloat = Field(ge=0)
    percentile_00_5: FiniteFloat
    percentile_99_5: FiniteFloat

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.percentile_00_5 < self.percentile_99_5:
            msg = "its percentiles must rise"
            raise ValueError(msg)
        return self


class _Configuration(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    spacing: tuple[Spacing, Spacing, Spacing]
    patch_size: tuple[Voxels, Voxels, Voxels]
    normalization_schemes: tuple[str]
    use_mask_for_norm: tuple[bool]


def read_plans(plans: Mapping[str, Any], configuration: str) -> Plans:
    """Return what plans say of a configuration.

    Parameters
    ----------
    plans : mapping
        The content of `plans.json`.
    configuration : str
        Such as ``3d_fullres``.

    Raises
    ------
    ModelError
        When it is 2-D or part of a cascade, or asks for something that is not
        understood or beyond reason.
    """
    raw = _resolved(plans, configuration)
    _refuse_what_cannot_run(raw, configuration)
    try:
        chosen = _Configuration.model_validate(raw)
        architecture = Architecture.model_validate(read_architecture(raw))
    except ValidationError as error:
        raise refused(FILE, f"{configuration}: {first_fault(error)}") from error
    _refuse_misfit(chosen.patch_size, architecture)
    return Plans(
        configuration,
        str(plans.get("plans_name", "nnUNetPlans"))[:100],
        str(plans.get("dataset_name", ""))[:100],
        Input(
            chosen.spacing,
            _normalisation(plans, chosen),
            orientation=_orientation(plans),
            transpose=_transpose(plans),
            resampling="nnunet",
            crop="nonzero",
        ),
        chosen.patch_size,
        architecture,
    )


def runnable_configurations(plans: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of configurations that are neither 2-D nor in a cascade."""
    known = plans.get("configurations")
    names = [str(name) for name in known] if isinstance(known, dict) else []
    return tuple(
        name
        for name in names
        if "2d" not in name.lower() and "cascade" not in name.lower()
    )


def _resolved(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with what it inherits from others."""
    known = plans.get("configurations")
    if not isinstance(known, dict):
        raise refused(FILE, "it holds no configurations")
    chain: list[dict[str, Any]] = []
    wanted: object = name
    while wanted is not None:
        found = known.get(wanted) if isinstance(wanted, str) else None
        if not isinstance(found, dict):
            listed = ", ".join(str(k)[:40] for k in list(known)[:8])
            reason = f"it has no configuration '{str(wanted)[:60]}', only {listed}"
            raise refused(FILE, reason)
        chain.append(found)
        if len(chain) > MAX_INHERITANCE:
            raise refused(FILE, f"'{name}' inherits in a circle")
        wanted = found.get("inherits_from")
    merged: dict[str, Any] = {}
    for part in reversed(chain):
        merged.update(part)
    return merged


def _refuse_what_cannot_run(raw: Mapping[str, Any], name: str) -> None:
    patch = raw.get("patch_size")
    if isinstance(patch, list) and len(patch) == 2:
        reason = f"'{name}' is 2-D, and only 3-D networks can be run"
        raise refused(FILE, reason, OTHER_CONFIGURATION)
    if raw.get("previous_stage") is not None:
        reason = f"'{name}' is the second step of a cascade, which cannot be run"
        raise refused(FILE, reason, OTHER_CONFIGURATION)
    preprocessor = raw.get("preprocessor_name", "DefaultPreprocessor")
    if preprocessor != "DefaultPreprocessor":
        raise refused(FILE, f"its preprocessor '{str(preprocessor)[:60]}' is unknown")
    for what, order in (("data", 3), ("probabilities", 1)):
        used = raw.get(f"resampling_fn_{what}")
        options = raw.get(f"resampling_fn_{what}_kwargs")
        wanted = {"is_seg": False, "order": order, "order_z": 0}
        if used != RESAMPLING or options != {**wanted, "force_separate_z": None}:
            raise refused(FILE, f"its resampling of {what} is not nnU-Net's default")


def _refuse_misfit(patch: Shape, architecture: Architecture) -> None:
    z, y, x = patch
    if z * y * x > MAX_PATCH_VOXELS:
        raise refused(FILE, f"its patch of {z} x {y} x {x} voxels is beyond reason")
    for size, step in zip(patch, architecture.reduction, strict=True):
        if size % step:
            raise refused(FILE, f"its patch {patch} does not divide by its strides")


def _normalisation(
    plans: Mapping[str, Any], configuration: _Configuration
) -> Normalisation:
    (scheme,), (masked,) = (
        configuration.normalization_schemes,
        configuration.use_mask_for_norm,
    )
    if scheme == "CTNormalization":
        found = _intensities(plans)
        clip = (found.percentile_00_5, found.percentile_99_5)
        return Normalisation(clip, found.mean, found.std)
    if scheme == "ZScoreNormalization" and not masked:
        return Normalisation(statistics="mean-sd")
    if scheme == "RescaleTo01Normalization":
        return Normalisation(statistics="min-max")
    if scheme == "NoNormalization":
        return Normalisation()
    where = " inside a mask" if masked else ""
    raise refused(FILE, f"it normalises by '{scheme[:60]}'{where}, which is unknown")


def _intensities(plans: Mapping[str, Any]) -> _Intensities:
    """Return the HU statistics of the only channel; older plans call them otherwise."""
    new = plans.get("foreground_intensity_properties_per_channel")
    old = plans.get("foreground_intensity_properties_by_modality")
    channels = old if new is None else new
    try:
        return _Intensities.model_validate((channels or {}).get("0"))
    except (ValidationError, AttributeError) as error:
        reason = (
            first_fault(error) if isinstance(error, ValidationError) else "no object"
        )
        raise refused(FILE, f"the HU statistics it needs: {reason}") from error


def _orientation(plans: Mapping[str, Any]) -> Literal["RAS", "stored"]:
    reader = str(plans.get("image_reader_writer", ""))
    if reader not in READERS:
        raise refused(
            FILE, f"its reader '{reader[:60]}' is none of {', '.join(READERS)}"
        )
    return READERS[reader]


def _transpose(plans: Mapping[str, Any]) -> tuple[int, int, int]:
    forward = plans.get("transpose_forward")
    if not isinstance(forward, list) or sorted(map(str, forward)) != ["0", "1", "2"]:
        raise refused(FILE, "transpose_forward is no order of three axes")
    z, y, x = (int(axis) for axis in forward)
    return z, y, x
