"""Between our grids, ordered (z, y, x), and SimpleITK's, ordered (x, y, z)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.geometry import Geometry, as_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HasGrid(Protocol):
    """What a SimpleITK image and a file reader have in common."""

    def GetSize(self) -> tuple[int, ...]: ...  # noqa: N802, D102
    def GetSpacing(self) -> tuple[float, ...]: ...  # noqa: N802, D102
    def GetOrigin(self) -> tuple[float, ...]: ...  # noqa: N802, D102
    def GetDirection(self) -> tuple[float, ...]: ...  # noqa: N802, D102


def geometry_of(image: HasGrid) -> Geometry:
    """Return the grid of an image, or of a reader that knows its header.

    Axes beyond the third must have length 1; they are left out.
    """
    axes = len(image.GetSize())
    nx, ny, nz = image.GetSize()[:3]
    sx, sy, sz = image.GetSpacing()[:3]
    ox, oy, oz = image.GetOrigin()[:3]
    direction = np.asarray(image.GetDirection()).reshape(axes, axes)[2::-1, 2::-1]
    return Geometry(
        shape=(nz, ny, nx),
        spacing_mm=(sz, sy, sx),
        origin_mm=(oz, oy, ox),
        direction=as_matrix(direction),
    )


def to_image(array: NDArray[Any], geometry: Geometry) -> Any:
    """Return a SimpleITK image of an array ``(z, y, x)`` on its grid."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm[::-1])
    image.SetDirection(np.asarray(geometry.direction)[::-1, ::-1].ravel().tolist())
    return image
