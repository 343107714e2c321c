"""Peak memory: ``python -m benchmarks.memory``.

Input is drawn in one process and worked on in another, so that drawing it does not
count. What counts is the most that the second process ever held, less what it held
when its input was loaded and nothing had begun.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.__main__ import machine
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.models.contract import Shape

DRAWN, DRAWN_MM = (200, 256, 256), (2.0, 1.6, 1.6)
TIMES = (5, 2, 2)
"""The drawn voxels are repeated so often along each axis: 1000 slices of 0.4 mm."""

RUNS = ("starter-3mm", "starter")
WAYS_BACK = ("ours", "nnunet")
RESULT = Path(__file__).parent / "results" / "memory.json"


def main() -> None:
    """Measure a whole run with each model, and both ways back from logits (B5)."""
    if len(sys.argv) == 3:
        path, job = Path(sys.argv[1]), sys.argv[2]
        measured = _run(path, job) if job in RUNS else _way_back(path, job)
        print(json.dumps(measured))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ct.npy"
        np.save(path, draw())
        rows += [_in_its_own_process(path, model) for model in RUNS]
        if importlib.util.find_spec("nnunetv2"):
            from benchmarks.nnunet import smooth_logits

            path = Path(folder) / "logits.npy"
            np.save(path, smooth_logits().numpy())
            rows += [_in_its_own_process(path, way) for way in WAYS_BACK]
        else:
            print("B5's memory: not measured, nnunetv2 is missing")
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _in_its_own_process(path: Path, job: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "benchmarks.memory", str(path), job)
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    row = {**json.loads(answer.stdout.splitlines()[-1]), **machine()}
    print(f"{row['what']}: {row['peak_gb']:.2f} GB", flush=True)
    return row


def draw(shape: Shape = DRAWN, spacing_mm: Triple = DRAWN_MM) -> np.ndarray:
    """Return Hounsfield units of a phantom, int16, `TIMES` as many voxels as drawn."""
    hu = make_phantom(4321, shape, spacing_mm).volume.hu
    for axis, times in enumerate(TIMES):
        hu = np.repeat(hu, times, axis)
    return hu


def as_volume(hu: np.ndarray, spacing_mm: Triple = DRAWN_MM) -> CTVolume:
    """Return what `draw` has drawn as a CT."""
    z, y, x = (s / t for s, t in zip(spacing_mm, TIMES, strict=True))
    grid = Geometry(hu.shape, (z, y, x))
    return CTVolume(hu, grid, grid, Reorientation(), "phantom", "0f")


def _run(path: Path, name: str) -> dict[str, Any]:
    """Segment the CT."""
    from napari_liverseg.inference.decision import decide
    from napari_liverseg.inference.options import RunOptions
    from napari_liverseg.inference.predictor import Predictor
    from napari_liverseg.models.store import find_model

    hu = np.load(path)
    volume = as_volume(hu)
    predictor = Predictor(find_model(name), "cpu")
    before = _held()
    found = predictor.predict(volume, options=RunOptions(tune=False))
    labels = decide(found)
    return {
        "what": f"512x512x1000 voxels with {name}, above the CT itself (aim: 4 GB)",
        "input_gb": hu.nbytes / 1e9,
        "peak_gb": (_peak() - before) / 1e9,
        "plan": found.run.memory,
        "liver_ml": round(labels.liver_ml),
        "seconds": round(found.run.seconds),
    }


def _way_back(path: Path, whose: str) -> dict[str, Any]:
    """Bring logits to the CT's grid."""
    import torch

    from benchmarks.nnunet import our_way_back, their_way_back

    logits = torch.from_numpy(np.load(path))
    before = _held()
    with torch.inference_mode():
        mask = (our_way_back if whose == "ours" else their_way_back)(logits)
    return {
        "what": f"B5, {whose}: logits to a 512x512x300 mask",
        "input_gb": logits.nbytes / 1e9,
        "peak_gb": (_peak() - before) / 1e9,
        "liver_voxels": int(np.count_nonzero(mask)),
    }


def _held() -> int:
    return int(psutil.Process().memory_info().rss)


def _peak() -> int:
    """Return the most bytes that this process ever held."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return int(memory.peak_wset)
    status = Path("/proc/self/status")
    if status.is_file():
        # Unlike getrusage's, this peak is not inherited from the parent process.
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(words[1]) * 1024 for words in lines if words[0] == "VmHWM:")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
