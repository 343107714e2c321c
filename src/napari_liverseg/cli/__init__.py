"""The same calls without a screen."""

from napari_liverseg.cli.app import main

__all__ = ["main"]
