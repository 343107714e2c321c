"""How good the starter model is: ``python -m benchmarks.starter [--data FOLDER]``.

Phantoms of seeds that training never draws, some without a tumour and some with
tumours beside veins alone, and, where the folder is given, the public CT
``abdomen-dicom-j2k`` that was kept out of training, against a label map that another
model made, and ``abdomen-3mm``, which is training data. With ``--drawn N`` also N
images as training draws them, of other seeds: deformed, ill, of any contrast phase and
of bad scanners.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.probabilities import Look
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.case import CaseMeasures, measure_case
from napari_liverseg.models.contract import Windows
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import AT_VEINS, LESIONS, Phantom, make_phantom
from napari_liverseg.synthesis.sample import PatchGrid, draw_sample
from napari_liverseg.synthesis.tissue import PHASES
from napari_liverseg.training.bodies import phantom_body

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.synthesis.phantom import Lesion

SEEDS = (70_001, 70_002, 70_003, 70_004, 70_005, 70_006)
HARD_SEEDS = (71_001, 71_002, 71_003)
"""Of those without tumours, and of those with tumours beside veins."""

FIELD_MM, PLANE, PIXEL_MM = 240.0, (190, 230), 1.8
MODEL_MADE_LIVER = 5
ENDINGS = (".nii.gz", "_short.nii.gz")
DRAWN, DRAWN_MM, DRAWN_SEED, LEAST_ML = (120, 170, 190), 2.0, 96_000, 400.0
"""Grid of drawn images, their seed, and the liver that one must show."""


def main() -> None:
    """Measure every case, print a table and keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with abdomen-dicom-j2k")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument(
        "--phase", choices=PHASES, help="of phantoms whose vessels are trees"
    )
    parser.add_argument(
        "--varied", action="store_true", help="tumours look as drawn ones, no balls"
    )
    parser.add_argument("--slice-mm", type=float, default=2.5)
    parser.add_argument("--slices", type=int, help="the middle ones of a liver alone")
    parser.add_argument(
        "--filled", action="store_true", help="thin ones filled up, as before 3.6.1"
    )
    parser.add_argument(
        "--hard", type=int, nargs="*", default=HARD_SEEDS, metavar="SEED",
        help="phantoms without tumours, and with tumours beside veins; none without",
    )  # fmt: skip
    parser.add_argument("--drawn", type=int, default=0, metavar="N")
    parser.add_argument(
        "--look", choices=get_args(Look), default="liver",
        help="where the second stage looks, in phantoms",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="keeps the measures there, as JSON")
    arguments = parser.parse_args()
    if arguments.filled:
        Windows.for_image = lambda self, _: self  # type: ignore[method-assign]
    predictor = Predictor(find_model(arguments.model), "cpu")
    options = RunOptions(look=arguments.look)
    kinds = {"phantom": LESIONS, "healthy": (), "at veins": AT_VEINS}
    rows = []
    for kind, plain in kinds.items():
        lesions = [replace(one, varied=arguments.varied) for one in plain]
        for seed in arguments.seeds if kind == "phantom" else arguments.hard:
            phantom = _phantom(seed, arguments.slice_mm, lesions, arguments.phase)
            if arguments.slices:
                phantom = _middle(phantom, arguments.slices)
            found = decide(predictor.predict(phantom.volume, options=options))
            rows.append(measure_row(f"{kind} {seed}", found, phantom.truth))
    for drawn in islice(_drawn_cases(), arguments.drawn):
        found = decide(predictor.predict(drawn.volume))
        rows.append(measure_row(drawn.volume.name, found, drawn.truth))
    if arguments.data:
        rows += [_unseen_row(predictor, arguments.data)]
        rows += [_training_row(predictor, arguments.data, end) for end in ENDINGS]
    _summarise(rows)
    if arguments.out:
        sha256 = find_model(arguments.model).sha256
        text = json.dumps({"model_sha256": sha256, "cases": rows}, indent=2)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


def _phantom(
    seed: int, slice_mm: float, lesions: Sequence[Lesion], phase: str | None
) -> Phantom:
    shape = (round(FIELD_MM / slice_mm), *PLANE)
    spacing = (slice_mm, PIXEL_MM, PIXEL_MM)
    if phase is None:
        return make_phantom(seed, shape, spacing, lesions=lesions)
    return make_phantom(seed, shape, spacing, phase=phase, lesions=lesions, trees=True)


def _middle(phantom: Phantom, slices: int) -> Phantom:
    """Return some slices of a phantom, the liver's middle one in their midst."""
    shown = np.flatnonzero(phantom.truth.labels.any((1, 2)))
    first = max(int(shown.mean()) - slices // 2, 0)
    cut = slice(first, first + slices)
    volume = phantom.volume
    return as_phantom(
        volume.hu[cut], phantom.truth.labels[cut], volume.geometry.spacing_mm,
        volume.name,
    )  # fmt: skip


def as_phantom(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: Triple, name: str
) -> Phantom:
    """Return an image, its labels and its voxel size as a phantom has them."""
    z, y, x = hu.shape
    geometry = Geometry((z, y, x), spacing_mm)
    key = hashlib.sha256(name.encode()).hexdigest()[:16]
    volume = CTVolume(hu, geometry, geometry, Reorientation(), name, key)
    return Phantom(volume, Segmentation(labels, geometry))


def _drawn_cases() -> Iterator[Phantom]:
    """Yield images as training draws them, of phantoms, and their truth."""
    grid = PatchGrid(DRAWN, (DRAWN_MM,) * 3)
    for number in count(1):
        rng = np.random.default_rng((DRAWN_SEED, number))
        sample = draw_sample(phantom_body(rng, DRAWN_MM), grid, rng, inside_share=1.0)
        if np.count_nonzero(sample.labels) * DRAWN_MM**3 / 1000 < LEAST_ML:
            continue
        hu = np.clip(np.rint(sample.hu), -1024, 3071).astype(np.int16)
        yield as_phantom(hu, sample.labels, grid.spacing_mm, f"drawn {number}")


def _unseen_row(predictor: Predictor, data: Path) -> dict[str, object]:
    case = data / "abdomen-dicom-j2k"
    return _real_row(predictor, case, data / f"{case.name}.labels.nii.gz", case.name)


def _training_row(predictor: Predictor, data: Path, end: str) -> dict[str, object]:
    """Return the row of a CT whose anatomy was drawn from: nothing to be judged by."""
    folder = data / "abdomen-3mm"
    case = folder / f"ct{end}"
    name = f"training data: {folder.name}/{case.name}"
    return _real_row(predictor, case, folder / f"labels{end}", name)


def _real_row(
    predictor: Predictor, case: Path, labels: Path, name: str
) -> dict[str, object]:
    volume = open_ct(case)
    truth = read_label_map(labels, volume, values={MODEL_MADE_LIVER: 1})
    return measure_row(name, decide(predictor.predict(volume)), truth)


def measure_row(
    case: str, found: Segmentation, truth: Segmentation
) -> dict[str, object]:
    """Print and return how well a case was found."""
    measures: CaseMeasures = measure_case(found, truth)
    report = measures.as_dict()
    row = {
        "case": case,
        "liver_dice": report["liver"]["dice"],
        "liver_assd_mm": report["liver"]["assd_mm"],
        "tumour_dice": report["tumour"]["dice"],
        "lesions": report["lesions"]["truth"],
        "lesion_recall_any": report["lesions"]["recall_any"],
        "invented_tumour_ml": round(found.tumour_ml, 1)
        if not truth.tumour_ml
        else None,
    }
    print("  ".join(f"{k} {_short(v)}" for k, v in row.items()), flush=True)
    return row


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _summarise(rows: list[dict[str, object]]) -> None:
    for kind in ("phantom", "healthy", "at veins", "drawn"):
        mine = [r for r in rows if str(r["case"]).startswith(kind)]
        ill = [r for r in mine if r["invented_tumour_ml"] is None]
        for name, cases in (("liver", mine), ("tumour", ill)):
            dices = [float(str(r[f"{name}_dice"])) for r in cases]
            if dices:
                mean, low = statistics.mean(dices), min(dices)
                print(f"{kind}: {name} Dice {mean:.3f} (lowest {low:.3f})")


if __name__ == "__main__":
    main()
