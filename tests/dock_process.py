"""A second window in a process of its own, for what only two processes can show."""

import contextlib
import subprocess
import sys
from pathlib import Path

START = """
import sys
import napari
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication
from napari_liverseg.io.open import open_ct
from napari_liverseg.ui.dock import LiverDock

viewer = napari.Viewer(show=False)
dock = LiverDock(viewer)
viewer.window.add_dock_widget(dock, name="Liver segmentation")
dock.session.open_volume(open_ct(sys.argv[1]))
liver = dock.session.show_layers().liver

def dab(*voxel):
    with liver.block_history():
        liver.paint(voxel, 1)

def say(word):
    print(word, flush=True)
"""


@contextlib.contextmanager
def window_process(case_path, steps):
    """Open a CT in a window of its own process, take steps, and end it hard at last.

    Yields the process, whose output is what the steps `say`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", START + steps, str(case_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
