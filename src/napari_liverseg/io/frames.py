"""The slices of an Enhanced (multi-frame) DICOM file, one header for each frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_liverseg.io.attributes import (
    contrast_phase,
    decimal,
    floats,
    image_type,
    number,
    text,
)

if TYPE_CHECKING:
    from napari_liverseg.io.headers import SliceHeader


def frame_headers(common: SliceHeader, dataset: Any) -> tuple[SliceHeader, ...]:
    """Return a header for each frame from the functional groups (PS3.3 C.7.6.16).

    A group of the frame itself goes before the group that all frames share.

    Raises
    ------
    ValueError
        When not every frame is described.
    """
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    frames = dataset.PerFrameFunctionalGroupsSequence
    if len(frames) != number(dataset, "NumberOfFrames"):
        msg = f"{len(frames)} frames are described, not all"
        raise ValueError(msg)
    return tuple(_frame(common, i, _Groups(f, shared)) for i, f in enumerate(frames))


class _Groups:
    """The functional groups that hold for one frame."""

    def __init__(self, frame: Any, shared: Any) -> None:
        self._layers = [layer for layer in (frame, shared) if layer is not None]

    def get(self, sequence: str) -> Any:
        """Return the first item of a group, an empty dict where it is missing."""
        for layer in self._layers:
            item = _first(layer.get(sequence))
            if item is not None:
                return item
        return {}


def _frame(common: SliceHeader, index: int, groups: _Groups) -> SliceHeader:
    measures = groups.get("PixelMeasuresSequence")
    rescale = groups.get("PixelValueTransformationSequence")
    content = groups.get("FrameContentSequence")
    kind = groups.get("CTImageFrameTypeSequence")
    position = floats(groups.get("PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = floats(
        groups.get("PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    kernel = text(groups.get("CTReconstructionSequence"), "ConvolutionKernel")
    frame_type = image_type(kind, "FrameType")
    return replace(
        common,
        frame=index,
        position=position,  # type: ignore[arg-type]
        orientation=orientation,  # type: ignore[arg-type]
        pixel_spacing_mm=floats(measures, "PixelSpacing", 2),  # type: ignore[arg-type]
        thickness_mm=decimal(measures, "SliceThickness"),
        slope=decimal(rescale, "RescaleSlope"),
        intercept=decimal(rescale, "RescaleIntercept"),
        rescale_type=text(rescale, "RescaleType"),
        image_type=frame_type if any(frame_type) else common.image_type,
        kernel=kernel or common.kernel,
        phase=contrast_phase(groups.get("ContrastBolusUsageSequence")) or common.phase,
        instance=number(content, "InStackPositionNumber") or index + 1,
        acquisition=number(content, "FrameAcquisitionNumber"),
    )


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None
