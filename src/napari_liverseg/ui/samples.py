"""File > Open Sample: the made-up case and its exact truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.sample import sample_ct_path, sample_truth_path
from napari_liverseg.ui import colours
from napari_liverseg.ui.ct_layer import belonging, placement
from napari_liverseg.ui.masks import label_colours
from napari_liverseg.ui.reader import ct_layer_data

if TYPE_CHECKING:
    from napari_liverseg.core.volume import CTVolume


def open_sample() -> list[tuple[Any, ...]]:
    """Return the sample CT."""
    return [ct_layer_data(open_ct(sample_ct_path()))]


def open_sample_with_truth() -> list[tuple[Any, ...]]:
    """Return the sample CT and the label map that it was made from."""
    volume = open_ct(sample_ct_path())
    return [ct_layer_data(volume), _truth(volume)]


def _truth(volume: CTVolume) -> tuple[Any, ...]:
    truth = read_label_map(sample_truth_path(), volume)
    settings = {
        "name": "Truth",
        "metadata": belonging(volume, "truth"),
        "colormap": label_colours(
            {LIVER: colours.TRUTH_LIVER, TUMOUR: colours.TRUTH_TUMOUR}
        ),
        **placement(volume),
    }
    return (truth.labels, settings, "labels")
