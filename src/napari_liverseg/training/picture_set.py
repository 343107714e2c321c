"""All pictures of a training, checked first, and how they are altered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_liverseg.core.errors import CaseError, LiversegError
from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.inference.picture import fitted
from napari_liverseg.io.slice_picture import read_picture

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.io.labelled_pictures import LabelledPictures
    from napari_liverseg.training.classifier_recipe import (
        ClassifierRecipe,
        PictureAugmentation,
    )


@dataclass(frozen=True, eq=False)
class CheckedPictures:
    """Pictures as a network sees them.

    Parameters
    ----------
    grey : Tensor, uint8, shape (n, 1, size, size)
        Grey values times 255: 8 bits hold a window of 400 HU to 1.6 HU.
    keys : tuple of str
        Of each picture as it is in its file, the same for the same grey values.
    """

    grey: torch.Tensor
    keys: tuple[str, ...]


def check_pictures(
    data: LabelledPictures,
    recipe: ClassifierRecipe,
    on_progress: OnProgress,
    is_cancelled: IsCancelled = never_cancelled,
) -> CheckedPictures:
    """Read every picture, and refuse all bad ones in one report.

    Parameters
    ----------
    data : LabelledPictures
    recipe : ClassifierRecipe
        Its size and window.
    on_progress, is_cancelled : callable
        See `napari_liverseg.core.progress`; asked before each picture.

    Raises
    ------
    CaseError
        Names each picture that cannot be read, and each that is there twice under
        two patients or classes, since it would be a test on what was learnt.
    CancelledError
        Once `is_cancelled` returns True.
    """
    size = recipe.image_size
    read = torch.zeros((len(data.pictures), 1, size, size), dtype=torch.uint8)
    keys: list[str] = []
    bad: list[str] = []
    owner: dict[str, int] = {}
    for number, picture in enumerate(data.pictures):
        stop_if(is_cancelled)
        on_progress(number, len(data.pictures), f"Checking picture {number + 1}")
        try:
            grey = read_picture(picture.path, recipe.hu_window)
        except LiversegError as error:
            bad.append(str(error))
            continue
        key = hashlib.blake2b(grey.tobytes(), digest_size=16).hexdigest()
        keys.append(key)
        twin = data.pictures[owner.setdefault(key, number)]
        if (twin.label, twin.patient) != (picture.label, picture.patient):
            bad.append(
                f"'{picture.path.name}' ({picture.label}) is the same picture as "
                f"'{twin.path.name}' ({twin.label}) of another patient or class."
            )
        read[number] = (fitted(grey, size) * 255).round().to(torch.uint8)
    if bad:
        head = f"{len(bad)} of {len(data.pictures)} pictures cannot be trained on:"
        raise CaseError("\n".join([head, *(f"  {line}" for line in bad)]))
    return CheckedPictures(read, tuple(keys))


def altered(
    pictures: torch.Tensor, given: PictureAugmentation, rng: np.random.Generator
) -> torch.Tensor:
    """Return pictures turned, moved, stretched and made noisy, each its own way.

    Parameters
    ----------
    pictures : Tensor, float32, shape (n, 1, rows, columns)
        From 0 to 1.
    given : PictureAugmentation
    rng : Generator
        Draws everything, so that a training can be repeated.
    """
    n = len(pictures)
    turn = np.radians(rng.uniform(-given.degrees, given.degrees, n))
    stretch = 1 / rng.uniform(*given.factor, n)
    mirror = np.where(rng.random(n) < 0.5 * given.mirror, -1.0, 1.0)
    cosine, sine = np.cos(turn) * stretch, np.sin(turn) * stretch
    shift = 2 * rng.uniform(-given.shift, given.shift, (2, n))
    rows = [[cosine * mirror, -sine, shift[0]], [sine * mirror, cosine, shift[1]]]
    theta = torch.as_tensor(np.array(rows).transpose(2, 0, 1), dtype=torch.float32)
    grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, grid, align_corners=False)
    factor = _column(rng.uniform(*given.contrast, n))
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    noise = torch.as_tensor(rng.standard_normal(moved.shape), dtype=torch.float32)
    noise *= _column(rng.uniform(0, given.noise_sd, n))
    return ((moved - mean) * factor + mean + noise).clamp(0, 1)


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)[:, None, None, None]
