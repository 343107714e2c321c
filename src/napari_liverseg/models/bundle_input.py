"""What a MONAI bundle does to a CT first, told by the names of its transforms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_liverseg.models.bundle_component import chain, unfit
from napari_liverseg.models.contract import Input
from napari_liverseg.models.intensity import Intensity

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.models.bundle_component import Component
    from napari_liverseg.models.bundle_config import Config

HARMLESS = {
    *("LoadImaged", "EnsureChannelFirstd", "AddChanneld", "AsChannelFirstd"),
    *("EnsureTyped", "CastToTyped", "ToTensord", "ToDeviced", "Identityd"),
}
"""Transforms that change how the numbers are held, not what they say."""

FINEST_MM, COARSEST_MM = 0.2, 20.0
"""Spacings between which CTs are segmented; finer ones fill the memory."""

NONZERO = (
    "Its config leaves voxels of exactly 0 HU out of its normalisation; here they "
    "are treated like the others."
)
STORED = "Its config says no direction; a CT is run as its file stores it."

SPATIAL = (2, 1, 0)
"""MONAI's arrays are (x, y, z), ours are slowest axis first."""


@dataclass(frozen=True)
class BundleInput:
    """What a bundle expects of a CT.

    Parameters
    ----------
    input : Input
    intensity : Intensity
    remarks : tuple of str
        Where this program does not do to the last bit what the config says.
    """

    input: Input
    intensity: Intensity
    remarks: tuple[str, ...]


def read_input(config: Config, image: str) -> BundleInput:
    """Return what the `preprocessing` of a bundle amounts to.

    Parameters
    ----------
    config : Config
        ``configs/inference.json``.
    image : str
        Key of the CT among the transforms' keys.

    Raises
    ------
    ModelError
        When a transform is not known here, by its name, or wants what this
        program cannot do.
    """
    reading = _Reading()
    for step in chain(config, "preprocessing"):
        name = step.name_in("monai.transforms")
        keys = step.get("keys", image)
        if image not in (keys if isinstance(keys, list) else [keys]):
            continue
        if name in HARMLESS:
            continue
        follow = _FOLLOWED.get(name)
        if follow is None:
            raise unfit(step, "in its preprocessing, which this program cannot do")
        try:
            follow(reading, step)
        except ValueError as error:
            raise unfit(step, f"for {error}") from error
    return reading.result()


@dataclass
class _Reading:
    """What the transforms so far amount to."""

    orientation: Literal["LPS", "RAS", "stored"] = "stored"
    transpose: tuple[int, int, int] = SPATIAL
    spacing_mm: Triple | None = None
    intensity: Intensity = field(default_factory=Intensity)
    nonzero: bool = False

    def result(self) -> BundleInput:
        normalisation = self.intensity.normalisation
        wanted = Input(
            self.spacing_mm,
            normalisation,
            self.orientation,
            self.transpose,
            crop="none",
        )
        unsaid = self.orientation == "stored"
        remarks = [STORED] * unsaid + [NONZERO] * self.nonzero
        return BundleInput(wanted, self.intensity, tuple(remarks))

    def orient(self, step: Component) -> None:
        step.only("axcodes", "as_closest_canonical", "labels", "lazy")
        codes = str(step.get("axcodes"))
        letters = codes.upper()
        if step.get("as_closest_canonical"):
            letters = "RAS"
        axes = [next((i for i, a in enumerate(_AXES) if c in a), -1) for c in letters]
        pole = {"LPS": {"L", "P", "S"}, "RAS": {"R", "A", "S"}}
        turned = next((o for o, held in pole.items() if set(letters) == held), None)
        if sorted(axes) != [0, 1, 2] or turned is None:
            raise unfit(step, f"with axcodes '{codes}', neither RAS nor LPS axes")
        if self.spacing_mm is not None and len(set(self.spacing_mm)) > 1:
            raise unfit(step, "after a spacing that differs between axes")
        self.orientation = "LPS" if turned == "LPS" else "RAS"
        self.transpose = (axes[0], axes[1], axes[2])

    def space(self, step: Component) -> None:
        step.only(
            *("pixdim", "mode", "padding_mode", "align_corners", "diagonal"),
            *("dtype", "scale_extent", "recompute_affine", "lazy", "ensure_same_shape"),
        )
        modes = step.get("mode", "bilinear")
        mode = modes[0] if isinstance(modes, list) and modes else modes
        if mode not in ("bilinear", "trilinear", 1):
            raise unfit(step, f"with mode '{mode}', which is not linear")
        if step.get("diagonal"):
            raise unfit(step, "with diagonal, which turns the axes")
        if self.intensity.statistics != "fixed":
            raise unfit(step, "after each image's own statistics")
        spacing = step.triple("pixdim")
        if not all(FINEST_MM <= s <= COARSEST_MM for s in spacing):
            raise unfit(step, f"beyond {FINEST_MM} to {COARSEST_MM} mm")
        self.spacing_mm = spacing

    def scale_range(self, step: Component) -> None:
        step.only("a_min", "a_max", "b_min", "b_max", "clip", "dtype")
        low, high = step.number("a_min"), step.number("a_max")
        if not low < high:
            raise unfit(step, "with a_min that is not below a_max")
        bounds = step.get("b_min"), step.get("b_max")
        if bounds == (None, None):
            first, last = 0.0, 1.0
        else:
            first, last = step.number("b_min"), step.number("b_max")
        if step.get("clip", default=False):
            if bounds == (None, None):
                raise unfit(step, "with clip, but without the range to clip to")
            self.intensity = self.intensity.clipped(low, high)
        gain = (last - first) / (high - low)
        self.intensity = self.intensity.scaled(gain, first - low * gain)

    def normalise(self, step: Component) -> None:
        step.only("subtrahend", "divisor", "nonzero", "channel_wise", "dtype")
        if step.get("nonzero"):
            if not self.intensity.untouched:
                raise unfit(step, "with nonzero, after another scale")
            self.nonzero = True
        given = [step.get(name) is not None for name in ("subtrahend", "divisor")]
        if not any(given):
            self.intensity = self.intensity.by_statistics("mean-sd")
        elif all(given):
            divisor = step.number("divisor")
            if not divisor > 0:
                raise unfit(step, "with a divisor that is not above 0")
            gain = 1 / divisor
            offset = -step.number("subtrahend") * gain
            self.intensity = self.intensity.scaled(gain, offset)
        else:
            raise unfit(step, "with one of subtrahend and divisor alone")

    def scale(self, step: Component) -> None:
        step.only("minv", "maxv", "channel_wise", "dtype", "factor")
        if step.get("factor") is not None:
            raise unfit(step, "with a factor, which this program cannot do")
        low, high = step.number("minv", 0.0), step.number("maxv", 1.0)
        by_range = self.intensity.by_statistics("min-max")
        self.intensity = by_range.scaled(high - low, low)


_AXES = ("SI", "PA", "LR")
"""Letters of axis 0, 1 and 2 of an array that is slowest axis first."""

_FOLLOWED: dict[str, Callable[[_Reading, Component], None]] = {
    "Orientationd": _Reading.orient,
    "Spacingd": _Reading.space,
    "ScaleIntensityRanged": _Reading.scale_range,
    "NormalizeIntensityd": _Reading.normalise,
    "ScaleIntensityd": _Reading.scale,
}
