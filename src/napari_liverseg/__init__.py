"""Liver and tumour segmentation of abdominal CT in napari."""

import os
from importlib.metadata import version

# PyTorch reads it when it first takes memory for large tensors. On Linux these come in
# pages of 2 MB then: the kernel hands out, and clears, far fewer for each layer.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = version("napari-liverseg")
