"""Which words mean liver and which a tumour of it, in names that others give.

A name counts only where every word of it is understood: a vessel, a cyst, the
tumour of another organ or a word never seen before makes it neither. A vessel
taken for liver would be a wrong mask that nobody is asked about.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

LIVER = frozenset({"liver", "livers", "hepatic"})

TUMOUR = frozenset(
    {
        *("tumor", "tumors", "tumour", "tumours", "cancer", "cancers"),
        *("lesion", "lesions", "carcinoma", "carcinomas", "hcc", "mass", "masses"),
        *("metastasis", "metastases", "neoplasm", "neoplasms"),
    }
)

LINKS = frozenset({"of", "in", "the"})

TUMOUR_KIND = LINKS | frozenset(
    {"malignant", "primary", "secondary", "focal", "hepatocellular", "metastatic"}
)
"""Words beside one of `TUMOUR` that leave it a tumour of the liver."""

LIVER_KIND = frozenset(
    {"whole", "entire", "total", "healthy", "normal", "parenchyma", "tissue", "the"}
)
"""Words beside one of `LIVER` that leave it liver."""

WITH = frozenset({"and", "or", "with", "plus", "including", "incl"})

NOT = frozenset({"no", "non", "without", "minus", "excluding", "excl", "except"})

WITHOUT = NOT | {"healthy"}

PART = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=[0-9])")
"""Where words meet that are written as one: 'LiverTumor', 'Lesion2', 'HCC1'."""


def words_of(name: str) -> frozenset[str]:
    """Return the words of a name in lower case, however they are joined."""
    return frozenset(words_in_order(name))


def words_in_order(name: str) -> tuple[str, ...]:
    """Return the words of a name as `words_of`, in the order they are written."""
    parted = PART.sub(" ", name).replace("+", " and ").replace("&", " and ")
    return tuple(re.findall(r"[^\W_]+", parted.lower()))


def is_liver(words: Sequence[str]) -> bool:
    """Return whether a name means liver, with its tumours or without them.

    Parameters
    ----------
    words : sequence of str
        In order: 'non-tumour liver' is liver, 'non-liver tumour' is not.
    """
    other = frozenset(words) - LIVER
    if not LIVER.intersection(words) or _is_denied(words):
        return False
    if other & TUMOUR:
        return bool(other & (WITH | WITHOUT)) and (
            other <= TUMOUR | TUMOUR_KIND | LIVER_KIND | WITH | WITHOUT
        )
    return other <= LIVER_KIND and set(words) != {"hepatic"}


def is_tumour(words: Collection[str]) -> bool:
    """Return whether a name means a tumour, of the liver or of nothing named."""
    said = frozenset(words)
    return bool(said & TUMOUR) and said <= TUMOUR | TUMOUR_KIND | LIVER


def _is_denied(words: Sequence[str]) -> bool:
    """Whether what is not, or is left out, is the liver."""
    told = [word for word in words if word not in LINKS]
    first = next(place for place, word in enumerate(told) if word in LIVER)
    return first > 0 and told[first - 1] in NOT
