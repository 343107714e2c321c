"""Which model finds the liver for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.models.store import coarse_model
from napari_liverseg.models.two_stage import TwoStage

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model

COARSE_MM = 2.0
"""A model whose every spacing is at least this needs no coarse pass before it."""


def finder_of(model: Model) -> Model | None:
    """Return a model's first stage, or a cheap model; None where no such pass pays."""
    if isinstance(model, TwoStage):
        return model.finder
    spacing = model.input.spacing_mm
    if spacing is not None and min(spacing) >= COARSE_MM:
        return None
    return coarse_model()
