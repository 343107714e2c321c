"""How often layers have been painted, so that what was measured of them can age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels


class Repaints:
    """Counts strokes, undos and new arrays of the layers that it follows.

    Parameters
    ----------
    on_change : callable
        Called after each.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._counts: dict[Labels, int] = {}
        self._histories: dict[Labels, tuple[int, int]] = {}

    def follow(self, layer: Labels) -> None:
        """Count from now on, unless it does already."""
        if layer in self._counts:
            return
        self._counts[layer] = 0
        self._histories[layer] = _history(layer)
        for event in (layer.events.paint, layer.events.data):
            event.connect(self._count)
        layer.events.set_data.connect(self._on_refresh)

    def count(self, layer: Labels) -> int:
        """Return how often it has changed since `follow`, -1 if not followed."""
        return self._counts.get(layer, -1)

    def forget(self) -> None:
        """Follow no layer any more."""
        for layer in self._counts:
            for event in (layer.events.paint, layer.events.data):
                event.disconnect(self._count)
            layer.events.set_data.disconnect(self._on_refresh)
        self._counts.clear()
        self._histories.clear()

    def _count(self, event: Any) -> None:
        self._counts[event.source] += 1
        self._histories[event.source] = _history(event.source)
        self._on_change()

    def _on_refresh(self, event: Any) -> None:
        # napari's undo sends no event but the one of any refresh, a scroll's too.
        if _history(event.source) != self._histories[event.source]:
            self._count(event)


def _history(layer: Labels) -> tuple[int, int]:
    return len(layer._undo_history), len(layer._redo_history)
