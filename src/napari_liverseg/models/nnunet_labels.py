"""What the channels of an nnU-Net are called, labels or regions that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_liverseg.models.foreign_file import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABELS = 512
"""More labels than any published model of a CT has."""

MAX_NAME = 200
"""Characters of a label's name."""

FILE = "dataset.json"


@dataclass(frozen=True)
class LabelNames:
    """What each channel is called.

    Parameters
    ----------
    names : tuple of str
        In the order of the channels.
    activation : {'softmax', 'sigmoid'}
        One label a voxel, the first one background, or regions.
    """

    names: tuple[str, ...]
    activation: Literal["softmax", "sigmoid"]


def read_labels(dataset: Mapping[str, Any]) -> LabelNames:
    """Return the names of a model's channels.

    Parameters
    ----------
    dataset : mapping
        The content of `dataset.json`.

    Raises
    ------
    ModelError
        When labels are missing, are not consecutive, or regions have no order.
    """
    labels = _checked(dataset.get("labels"))
    values = {name: v for name, v in labels.items() if name != "ignore"}
    if any(len(set(v)) > 1 for v in values.values()):
        return LabelNames(_regions(values, dataset), "sigmoid")
    by_value = {v[0]: name for name, v in values.items()}
    if len(by_value) != len(values) or sorted(by_value) != list(range(len(by_value))):
        raise refused(FILE, "its labels are not numbered 0, 1, 2 and so on")
    return LabelNames(tuple(by_value[i] for i in range(len(by_value))), "softmax")


def _regions(
    values: Mapping[str, tuple[int, ...]], dataset: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the names of regions, in the file's order, which is the channels'."""
    names = tuple(name for name, v in values.items() if set(v) != {0})
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(names):
        raise refused(FILE, "regions_class_order does not name each region's label")
    return names


def _checked(labels: object) -> dict[str, tuple[int, ...]]:
    if not isinstance(labels, dict) or not labels:
        raise refused(FILE, "it names no labels")
    if len(labels) > MAX_LABELS:
        raise refused(FILE, f"it names {len(labels)} labels, more than {MAX_LABELS}")
    if max(len(name) for name in labels) > MAX_NAME:
        raise refused(FILE, "the name of a label is absurdly long")
    taken = {name: _values(name, value) for name, value in labels.items()}
    if taken.get("background") != (0,):
        raise refused(FILE, "the label 'background' is not 0")
    if len(taken) < 2 + ("ignore" in taken):
        raise refused(FILE, "it names no label but the background")
    return taken


def _values(name: str, value: object) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    fit = (
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= MAX_LABELS
        for v in values
    )
    if not values or len(values) > MAX_LABELS or not all(fit):
        raise refused(FILE, f"the label '{name}' is no number")
    return tuple(values)
