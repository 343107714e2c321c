"""Time from a slider's move to the new outline on a 512x512x200 CT.

Run: xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/threshold.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.probabilities import Probabilities, RunRecord
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.ui.dock import LiverDock

SHAPE = (200, 512, 512)
BOX = (slice(20, 170), slice(80, 400), slice(40, 400))
MOVES = (30, 35, 42, 50, 58, 66, 71, 80, 62, 45)


def main() -> None:
    """Print the median and the worst time of both sliders."""
    os.environ["NAPARI_LIVERSEG_DATA"] = tempfile.mkdtemp()
    viewer = napari.Viewer(show_welcome_screen=False)
    dock = LiverDock(viewer)
    viewer.window.add_dock_widget(dock)
    geometry = Geometry(SHAPE, (1.0, 0.75, 0.75), (-500.0, -190.0, -190.0))
    hu = np.full(SHAPE, 60, np.int16)
    volume = CTVolume(hu, geometry, geometry, Reorientation(), "bench", "bench")
    dock.session.open_volume(volume)
    dock.session.show_result(noisy_probabilities(geometry, BOX))
    viewer.dims.set_point(0, -500.0 + 95.0)
    dock.correct.take("liver", "paint")
    _settle()
    for name, slider in dock.threshold.sliders.items():
        seen, whole = [], []
        for per_cent in MOVES:
            began = time.perf_counter()
            slider.setValue(per_cent)
            _settle()
            seen.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            dock.session.settle()
            whole.append(1000 * (time.perf_counter() - began))
            _settle()
        for what, times in (("slice drawn", seen), ("whole mask", whole)):
            median, worst = statistics.median(times), max(times)
            print(f"{name}: {what} in {median:.0f} ms (median), {worst:.0f} ms (worst)")
    viewer.close()


def _settle() -> None:
    """Let the timers fire and the canvas draw."""
    for _ in range(2):
        QApplication.processEvents()


def noisy_probabilities(
    geometry: Geometry, box: tuple[slice, slice, slice]
) -> Probabilities:
    """Return a noisy ellipsoid with three lesions that fills its box."""
    size = [s.stop - s.start for s in box]
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, n)) for n in size)]
    random = np.random.default_rng(0)
    coarse = random.normal(size=[n // 4 + 1 for n in size])
    smooth = ndimage.zoom(ndimage.gaussian_filter(coarse, 1.5), 4, order=1)
    noise = smooth[: size[0], : size[1], : size[2]]
    noise /= noise.std()
    radius = np.sqrt((z / 0.95) ** 2 + (y / 0.9) ** 2 + (x / 0.95) ** 2)
    liver = 1 / (1 + np.exp(-((1 - radius) * 12 + noise)))
    tumour = np.zeros(size)
    for cz, cy, cx in [(0.2, 0.1, 0.3), (-0.3, 0.2, -0.2), (0.0, -0.4, 0.1)]:
        distance = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2)
        tumour = np.maximum(tumour, 1 / (1 + np.exp(-((0.15 - distance) * 40 + noise))))
    liver8 = (255 * liver).astype(np.uint8)
    tumour8 = (255 * np.minimum(tumour, liver)).astype(np.uint8)
    decision = np.where(tumour8 > 127, 2, liver8 > 127).astype(np.uint8)
    run = RunRecord("bench", "1", "0", "cpu", 1.0)
    return Probabilities(liver8, tumour8, decision, box, geometry, run)


if __name__ == "__main__":
    main()
