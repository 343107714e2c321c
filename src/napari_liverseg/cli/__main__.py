"""Lets ``python -m napari_liverseg.cli`` do what ``napari-liverseg`` does."""

import sys

from napari_liverseg.cli.app import main

sys.exit(main())
