"""Liver and tumour segmentation of abdominal CT in napari."""

from importlib.metadata import version

__version__ = version("napari-liverseg")
