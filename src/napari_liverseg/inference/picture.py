"""From one picture, such as a PNG or a DICOM slice, to how likely each class is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_liverseg.inference.devices import resolve
from napari_liverseg.io.slice_picture import read_picture
from napari_liverseg.models.classifier import load_classifier
from napari_liverseg.models.classifier_spec import ClassifierSpec, find_classifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class PicturePrediction:
    """What a classifier says of one picture.

    Parameters
    ----------
    label : str
        The class that is called: by the model's cut-off, else the likeliest.
    probabilities : dict of str to float
        Of each class; together 1.
    cut_off : float or None
        Of the model's positive class.
    """

    label: str
    probabilities: dict[str, float]
    cut_off: float | None


class PictureClassifier:
    """A classifier on a device, ready for any number of pictures.

    Parameters
    ----------
    model : ClassifierSpec
        From `find_classifier`.
    device : str
        ``auto``, ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    DeviceError
        When the device is missing.
    ModelError
        When the weights are not those of the spec.
    """

    def __init__(self, model: ClassifierSpec, device: str = "auto") -> None:
        self.model = model
        self.device = resolve(device).name
        self.network = load_classifier(model).to(self.device)

    def predict(self, path: str | Path) -> PicturePrediction:
        """Return what the model says of a picture in a file.

        Raises
        ------
        CaseError
            See `io.slice_picture.read_picture`.
        """
        grey = read_picture(Path(path), self.model.hu_window)
        return self.predict_array(grey)

    @torch.inference_mode()
    def predict_array(self, grey: NDArray[np.float32]) -> PicturePrediction:
        """Return what the model says of grey values from 0 to 1, (rows, columns)."""
        batch = fitted(grey, self.model.image_size)[None].to(self.device)
        shares = self.network(batch)[0].double().softmax(0).tolist()
        said = dict(zip(self.model.classes, shares, strict=True))
        return PicturePrediction(_called(self.model, said), said, self.model.cut_off)


def predict_image(
    model: str | Path | ClassifierSpec, image: str | Path, device: str = "auto"
) -> PicturePrediction:
    """Return what a classifier says of one picture.

    Parameters
    ----------
    model : str, Path or ClassifierSpec
        A name or a folder, see `find_classifier`. For many pictures make one
        `PictureClassifier`.
    image : path
        A PNG, JPEG, TIFF, BMP or a CT slice in DICOM.
    device : str

    Raises
    ------
    ModelError, CaseError, DeviceError
        When model, picture or device cannot be used.

    Examples
    --------
    >>> predict_image("our-classifier", "slice.png").label  # doctest: +SKIP
    'tumour'
    """
    spec = model if isinstance(model, ClassifierSpec) else find_classifier(model)
    return PictureClassifier(spec, device).predict(image)


def fitted(grey: NDArray[np.float32], size: int) -> torch.Tensor:
    """Return a picture as a classifier sees it, in training and later.

    Parameters
    ----------
    grey : ndarray of float32, shape (rows, columns)
        From 0 to 1.
    size : int

    Returns
    -------
    Tensor, float32, shape (1, size, size)
        Padded with black to a square around its middle, then resized.
    """
    rows, columns = grey.shape
    side = max(rows, columns)
    up, left = (side - rows) // 2, (side - columns) // 2
    around = (left, side - columns - left, up, side - rows - up)
    square = functional.pad(torch.from_numpy(grey)[None, None], around)
    resized = functional.interpolate(
        square, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)


def _called(model: ClassifierSpec, said: dict[str, float]) -> str:
    if model.positive is None or model.cut_off is None:
        return max(said, key=lambda name: said[name])
    if said[model.positive] >= model.cut_off:
        return model.positive
    others = [name for name in model.classes if name != model.positive]
    return max(others, key=lambda name: said[name])
