"""How good the starter model is: ``python -m benchmarks.starter [--data FOLDER]``.

Phantoms of seeds that training never draws, and, where the folder is given,
the public CT ``abdomen-dicom-j2k`` that was kept out of training, against a
label map that another model made.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.case import CaseMeasures, measure_case
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from napari_liverseg.core.segmentation import Segmentation

SEEDS = (70_001, 70_002, 70_003, 70_004, 70_005, 70_006)
FIELD_MM, PLANE, PIXEL_MM = 240.0, (190, 230), 1.8
RESULT = Path(__file__).parent / "results" / "starter.json"
MODEL_MADE_LIVER = 5


def main() -> None:
    """Measure every case, print a table and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with abdomen-dicom-j2k")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--slice-mm", type=float, default=2.5)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    predictor = Predictor(find_model(arguments.model), "cpu")
    thick = arguments.slice_mm
    rows = [_phantom_row(predictor, seed, thick) for seed in arguments.seeds]
    if arguments.data:
        rows.append(_real_row(predictor, arguments.data))
    _report(rows, arguments.model, arguments.out)


def _phantom_row(predictor: Predictor, seed: int, slice_mm: float) -> dict[str, object]:
    shape = (round(FIELD_MM / slice_mm), *PLANE)
    phantom = make_phantom(seed, shape, (slice_mm, PIXEL_MM, PIXEL_MM))
    found = decide(predictor.predict(phantom.volume))
    return _row(f"phantom {seed}", found, phantom.truth)


def _real_row(predictor: Predictor, data: Path) -> dict[str, object]:
    volume = open_ct(data / "abdomen-dicom-j2k")
    labels = data / "abdomen-dicom-j2k.labels.nii.gz"
    truth = read_label_map(labels, volume, values={MODEL_MADE_LIVER: 1})
    return _row("abdomen-dicom-j2k", decide(predictor.predict(volume)), truth)


def _row(case: str, found: Segmentation, truth: Segmentation) -> dict[str, object]:
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


def _report(rows: list[dict[str, object]], model: str, out: Path) -> None:
    phantoms = [r for r in rows if str(r["case"]).startswith("phantom")]
    liver = [float(str(r["liver_dice"])) for r in phantoms]
    tumour = [float(str(r["tumour_dice"])) for r in phantoms]
    for name, dices in (("liver", liver), ("tumour", tumour)):
        if dices:
            mean, low = statistics.mean(dices), min(dices)
            print(f"phantoms: {name} Dice {mean:.3f} (lowest {low:.3f})")
    out.parent.mkdir(parents=True, exist_ok=True)
    sha256 = find_model(model).sha256
    out.write_text(json.dumps({"model_sha256": sha256, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
