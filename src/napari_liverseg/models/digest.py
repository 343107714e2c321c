"""One hash of all that decides what a model says of a CT, to know its results by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_liverseg.models.two_stage import TwoStage, stages_of

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model


def digest_of(model: Model) -> str:
    """Return a hash of all that decides what a model says of a CT.

    Weights alone do not: the same ones give other masks at another HU window, or where
    two stages are joined otherwise.
    Names and dates do not at all: a copy's may be others.
    """
    stages = [
        (s.sha256, s.layers, s.input, s.windows, s.output, s.post_processing)
        for s in stages_of(model)
    ]
    joining = model.joining if isinstance(model, TwoStage) else ()
    parts = (model.sha256, model.post_processing, *stages, *joining)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
