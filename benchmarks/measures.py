"""B6, B7: measures and moved thresholds against the plain way with SciPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from benchmarks.ratio import LONG_REPEATS, REPEATS, Row, interleave
from benchmarks.threshold import noisy_probabilities
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.inference.decision import decide_in_box
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.lesions import label_lesions

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING_MM = (1.0, 0.75, 0.75)
EIGHTEEN = ndimage.generate_binary_structure(3, 2)
SAME = 1e-6

Values = dict[str, float]


def all_measures() -> Row:
    """B6: what `measure` tells of a case, against the definitions as they read."""
    truth = _liver(0)
    prediction = np.roll(_liver(1), (1, 2, -1), axis=(0, 1, 2))
    grid = Geometry(truth.shape, SPACING_MM)
    ours: dict[str, Values] = {}
    theirs: dict[str, Values] = {}

    def fast() -> None:
        found = measure_case(Segmentation(prediction, grid), Segmentation(truth, grid))
        ours.update(found.as_dict())

    def plain() -> None:
        for name, a, b in (
            ("liver", prediction >= 1, truth >= 1),
            ("tumour", prediction == 2, truth == 2),
        ):
            theirs[name] = _by_distance_maps(a, b)
        theirs["lesions"] = _one_by_one(prediction == 2, truth == 2)

    pairs = interleave(fast, plain, LONG_REPEATS)
    apart = max(
        abs(ours[name][key] - value)
        for name, values in theirs.items()
        for key, value in values.items()
    )
    gate = f"largest difference {apart:.1e} (at most {SAME:.0e})"
    return Row(
        "B6", "all measures of one 512x512x200 case",
        "distance maps of the whole volume", ">= 50x", *pairs.faster(), gate,
        apart <= SAME, LONG_REPEATS, pairs.peaks(),
    )  # fmt: skip


def _by_distance_maps(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Values:
    """Return overlap and surface distances as the definitions read."""
    surfaces = [m & ~ndimage.binary_erosion(m, EIGHTEEN) for m in (a, b)]
    maps = [ndimage.distance_transform_edt(~s, sampling=SPACING_MM) for s in surfaces]
    there, back = maps[1][surfaces[0]], maps[0][surfaces[1]]
    pooled = np.concatenate([there, back])
    return {
        "dice": 2
        * np.count_nonzero(a & b)
        / (np.count_nonzero(a) + np.count_nonzero(b)),
        "assd_mm": float(pooled.mean()),
        "rmsd_mm": float(np.sqrt(np.mean(pooled**2))),
        "msd_mm": float(pooled.max()),
        "hd95_mm": float(max(np.percentile(there, 95), np.percentile(back, 95))),
    }


def _one_by_one(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Values:
    """Return how many lesions are found, where each is covered by one at most."""
    (a, predicted), (b, true) = ndimage.label(prediction), ndimage.label(truth)
    ious = []
    for number in range(1, true + 1):
        lesion = b == number
        own = a == np.bincount(a[lesion]).argmax()
        is_found = bool((own & prediction & lesion).any())
        ious.append(is_found * (own & lesion).sum() / (own | lesion).sum())
    found, touched = (sum(iou > least for iou in ious) for least in (0.5, 0.0))
    return {
        "truth": true,
        "predicted": predicted,
        "precision": found / predicted,
        "recall": found / true,
        "precision_any": touched / predicted,
        "recall_any": touched / true,
    }


def _liver(seed: int) -> NDArray[np.uint8]:
    """Return a liver with three lesions in a 512x512x200 volume."""
    labels = np.zeros((200, 512, 512), np.uint8)
    box = (slice(20, 170), slice(80, 400), slice(40, 400))
    z, y, x = np.ogrid[tuple(slice(-1, 1, complex(0, s.stop - s.start)) for s in box)]
    wave = 0.04 * np.sin(9 * z + seed) * np.cos(7 * y) * np.sin(8 * x)
    inside = labels[box]
    inside[z**2 / 0.9 + y**2 / 0.8 + x**2 / 0.9 + wave < 1] = 1
    for cz, cy, cx in [(0.2, 0.1, 0.3), (-0.3, 0.2, -0.2), (0.0, -0.4, 0.1)]:
        near = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 + 0.2 * wave
        inside[near < 0.15**2 + 0.004 * seed] = 2
    return labels


def moved_threshold() -> Row:
    """B7: masks and lesions after a slider was moved."""
    shape = (500, 512, 512)
    box = (slice(150, 350), slice(120, 380), slice(60, 360))
    probabilities = noisy_probabilities(Geometry(shape, SPACING_MM), box)
    ours: dict[str, object] = {}
    theirs: dict[str, object] = {}
    full_liver, full_tumour = (np.zeros(shape, np.uint8) for _ in range(2))
    full_liver[box], full_tumour[box] = probabilities.liver, probabilities.tumour
    moved = Thresholds(0.42, 0.55)

    def fast() -> None:
        labels = decide_in_box(probabilities, moved)
        lesions, count = label_lesions(labels == 2)
        ours.update(
            lesions=lesions,
            count=count,
            tumour=int(np.count_nonzero(lesions)),
            liver=int(np.count_nonzero(labels)),
        )

    def plain() -> None:
        liver, tumour = (
            full_liver >= round(0.42 * 255),
            full_tumour >= round(0.55 * 255),
        )
        parts, count = ndimage.label(liver | tumour)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kept = parts == int(sizes.argmax())
        lesions, count = ndimage.label(tumour & kept)
        theirs.update(
            lesions=lesions, count=count, tumour=int(np.count_nonzero(lesions))
        )

    pairs = interleave(fast, plain, REPEATS)
    a, b = ours["lesions"], theirs["lesions"][box]
    same = ours["count"] == theirs["count"] and ours["tumour"] == theirs["tumour"]
    partition = len(set(zip(a[a > 0].tolist(), b[a > 0].tolist(), strict=True)))
    same = same and partition == ours["count"]
    gate = f"{ours['count']} lesions, the same partition"
    return Row(
        "B7", "threshold moved: masks, lesions, volumes, 512x512x500",
        "scipy.ndimage.label on the volume", ">= 20x", *pairs.faster(), gate, same,
        REPEATS, pairs.peaks(),
    )  # fmt: skip
