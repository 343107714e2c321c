"""How sharp a convolution kernel is: masks come out better on soft ones."""

from __future__ import annotations

import re

SOFT, UNKNOWN, SHARP = 0, 1, 2

_SIEMENS = re.compile(r"^[A-Z][a-z]{0,2}(\d\d)")
_CANON = re.compile(r"^FC(\d\d)")
_SHARP_WORDS = ("LUNG", "BONE", "EDGE", "ULTRA", "SHARP", "DETAIL", "CHST", "CHEST")
_SOFT_WORDS = ("STANDARD", "STND", "SOFT", "BODY", "SMOOTH", "MEDIASTINUM")
_PHILIPS = {"A": SOFT, "B": SOFT, "C": SOFT, "D": SHARP, "E": SHARP, "L": SHARP}

SIEMENS_SHARP_FROM = 50
"""Siemens numbers kernels by sharpness: B31f and Br40 are soft, B70f is for lung."""

CANON_SHARP_FROM = 30
"""Canon's FC01 to FC19 are for the body, FC30 for bone, FC50 and up for lung."""


def sharpness(kernel: str) -> int:
    """Return `SOFT`, `UNKNOWN` or `SHARP` for a ConvolutionKernel."""
    name = kernel.strip()
    canon, siemens = _CANON.match(name.upper()), _SIEMENS.match(name)
    if canon:
        return SHARP if int(canon[1]) >= CANON_SHARP_FROM else SOFT
    if siemens:
        return SHARP if int(siemens[1]) >= SIEMENS_SHARP_FROM else SOFT
    upper = name.upper()
    if any(word in upper for word in _SHARP_WORDS):
        return SHARP
    if any(word in upper for word in _SOFT_WORDS):
        return SOFT
    return _PHILIPS.get(upper, UNKNOWN)
