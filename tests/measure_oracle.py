"""LiTS measures the slow way: sets of voxels, loops and full distance tables."""

from __future__ import annotations

import itertools
import math

import numpy as np

FACES = [s for s in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1]
EIGHTEEN = [
    s for s in itertools.product((-1, 0, 1), repeat=3) if 1 <= sum(map(abs, s)) <= 2
]


def voxels(mask):
    return {tuple(int(i) for i in v) for v in np.argwhere(mask)}


def add(a, b):
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def overlap(prediction, truth):
    p, t = voxels(prediction), voxels(truth)
    n = prediction.size
    jaccard = len(p & t) / len(p | t) if p | t else 1.0
    agree = sum(1 for a, b in zip(prediction.flat, truth.flat, strict=True) if a == b)
    return {
        "dice": 2 * len(p & t) / (len(p) + len(t)) if p or t else 1.0,
        "jaccard": jaccard,
        "voe": 1 - jaccard,
        "rvd": (len(t) - len(p)) / len(p) if p else None,
        "sensitivity": len(p & t) / len(t) if t else None,
        "precision": len(p & t) / len(p) if p else None,
        "accuracy": agree / n,
    }


def surface(mask):
    inside = voxels(mask)
    return [v for v in sorted(inside) if any(add(v, s) not in inside for s in EIGHTEEN)]


def quantile(values, share):
    values = sorted(values)
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def distances(prediction, truth, spacing):
    p, t = surface(prediction), surface(truth)
    if not p or not t:
        return dict.fromkeys(("assd_mm", "rmsd_mm", "msd_mm", "hd95_mm"))

    def directed(a, b):
        return [
            min(
                math.sqrt(
                    sum(
                        (u - w) ** 2 * s**2
                        for u, w, s in zip(x, y, spacing, strict=True)
                    )
                )
                for y in b
            )
            for x in a
        ]

    pt, tp = directed(p, t), directed(t, p)
    return {
        "assd_mm": (sum(pt) + sum(tp)) / (len(pt) + len(tp)),
        "rmsd_mm": math.sqrt(sum(d * d for d in pt + tp) / (len(pt) + len(tp))),
        "msd_mm": max(max(pt), max(tp)),
        "hd95_mm": max(quantile(pt, 0.95), quantile(tp, 0.95)),
    }


def components(mask):
    """Return the components as sets of voxels, in the order a scan meets them."""
    left = voxels(mask)
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        component, edge = {start}, [start]
        while edge:
            at = edge.pop()
            for step in FACES:
                to = add(at, step)
                if to in left:
                    left.remove(to)
                    component.add(to)
                    edge.append(to)
        found.append(component)
    return found


def detected(prediction, truth, threshold):
    """Return how many true lesions are detected, by the four LiTS steps."""
    predicted, true = components(prediction), components(truth)

    merged = {}  # predicted lesion -> true lesions that overlap it most
    for number, lesion in enumerate(true):
        shared = [len(lesion & p) for p in predicted]
        if shared and max(shared) > 0:
            merged.setdefault(shared.index(max(shared)), []).append(number)
    groups = sorted(merged.values())
    unions = [set().union(*(true[n] for n in group)) for group in groups]

    matched = [set() for _ in groups]
    for lesion in predicted:
        shared = [len(lesion & union) for union in unions]
        if shared and max(shared) > 0:
            matched[shared.index(max(shared))] |= lesion

    count = 0
    for group, union, match in zip(groups, unions, matched, strict=True):
        if len(union & match) / len(union | match) > threshold:
            count += len(group)
    return count


def lesions(prediction, truth):
    predicted, true = len(components(prediction)), len(components(truth))
    half, touched = detected(prediction, truth, 0.5), detected(prediction, truth, 0)
    return {
        "truth": true,
        "predicted": predicted,
        "precision": half / predicted if predicted else None,
        "recall": half / true if true else None,
        "precision_any": touched / predicted if predicted else None,
        "recall_any": touched / true if true else None,
    }


def case(prediction, truth, spacing):
    """Return the whole contract for two label arrays."""
    result = {}
    for name, ours, theirs in (
        ("liver", prediction >= 1, truth >= 1),
        ("tumour", prediction == 2, truth == 2),
    ):
        result[name] = overlap(ours, theirs) | distances(ours, theirs, spacing)
    result["lesions"] = lesions(prediction == 2, truth == 2)
    result["tumour_burden"] = {
        side: np.count_nonzero(a == 2) / np.count_nonzero(a) if a.any() else None
        for side, a in (("truth", truth), ("prediction", prediction))
    }
    return result
