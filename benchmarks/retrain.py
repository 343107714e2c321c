"""Whether retraining on corrected cases pays: ``python -m benchmarks.retrain``.

A made-up site whose CTs are unlike most that the starter saw: unenhanced, in slices of
5 mm. The truth of some phantoms stands for a radiologist's corrections; the starter is
retrained on them as the window does, and both are measured on phantoms that neither
saw. What it shows holds for synthetic abdomens.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.__main__ import machine
from napari_liverseg.cli import main as command
from napari_liverseg.core.progress import ignore_progress
from napari_liverseg.io.retraining_set import add_case
from napari_liverseg.synthesis.phantom import make_phantom
from napari_liverseg.training.comparison import compare
from napari_liverseg.training.comparison_report import summary_rows, write_comparison

OUT = Path("out/retrain")
RESULT = Path(__file__).parent / "results" / "retrain.json"
PHASE, SHAPE, SPACING_MM = "unenhanced", (48, 190, 230), (5.0, 1.8, 1.8)
SETS = {"corrected": (6, 50_101), "test": (4, 80_101)}
"""Phantoms and the seed of the first; nothing that is bundled saw either."""


def main() -> None:
    """Draw the site, retrain, compare, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12.0)
    minutes = parser.parse_args().minutes
    for name, (count, seed) in SETS.items():
        if not (OUT / name).is_dir():
            _draw(OUT / name, count, seed)
    words = ["train", "quick", "--from", "starter", "--data", OUT / "corrected"]
    words += ["-o", OUT / "run", "--max-minutes", minutes, "--device", "cpu"]
    if command([str(word) for word in words]) != 0:
        raise SystemExit(1)
    runs = ["starter", str(OUT / "run")]
    models = compare(runs, OUT / "test", "cpu", ignore_progress)
    write_comparison(OUT / "comparison", models)
    head, *rows = summary_rows(models)
    for row in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(row), "|")
    content = {
        "minutes": minutes,
        "site": {"phase": PHASE, "spacing_mm": SPACING_MM, "sets": SETS},
        "table": [dict(zip(head, row, strict=True)) for row in rows],
        **machine(),
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _draw(folder: Path, count: int, seed: int) -> None:
    for number in range(seed, seed + count):
        phantom = make_phantom(number, SHAPE, SPACING_MM, phase=PHASE)
        add_case(folder, phantom.volume, phantom.truth)


if __name__ == "__main__":
    main()
