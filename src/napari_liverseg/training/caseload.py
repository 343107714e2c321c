"""All cases of a training, checked before an epoch is spent on any of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from napari_liverseg.core.errors import CaseError, ExportError, LiversegError
from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.training.prepared_case import prepare_case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.io.labelled_set import LabelledCase, LabelledSet
    from napari_liverseg.training.prepared_case import PreparedCase, Reading


class HasKey(Protocol):
    """Anything that knows which CT it was made of."""

    @property
    def series_key(self) -> str:
        """The same for the same series, or the same file."""

    @property
    def ct_key(self) -> str:
        """The same for the same voxels, see `io.keys.voxel_key`."""


Checked = TypeVar("Checked", bound=HasKey)


def check_cases(
    cases: LabelledSet,
    reading: Reading,
    cache: Path,
    on_progress: OnProgress,
    is_cancelled: IsCancelled = never_cancelled,
) -> dict[str, PreparedCase]:
    """Check every case and prepare it for a network, see `check_each`.

    Parameters
    ----------
    cases : LabelledSet
    reading : Reading
    cache : Path
        Where prepared cases are kept.
    on_progress, is_cancelled : callable
    """
    return check_each(
        cases,
        partial(prepare_case, reading=reading, cache=cache),
        on_progress,
        is_cancelled,
    )


def check_each(
    cases: LabelledSet,
    prepare: Callable[[LabelledCase], Checked],
    on_progress: OnProgress,
    is_cancelled: IsCancelled = never_cancelled,
) -> dict[str, Checked]:
    """Check every case, and return by name what was made of them.

    Parameters
    ----------
    cases : LabelledSet
    prepare : callable
        Makes something of a case, or refuses it.
    on_progress : callable
        Told of each case.
    is_cancelled : callable
        Asked before each case.

    Raises
    ------
    CaseError
        One report that names every case which is no good, each with its reason.
    ExportError
        When the disk is full.
    CancelledError
        Once `is_cancelled` returns True.
    """
    good: dict[str, Checked] = {}
    bad: dict[str, str] = {}
    owner: dict[str, str] = {}
    for number, case in enumerate(cases.cases):
        stop_if(is_cancelled)
        on_progress(number, len(cases.cases), f"Checking case {number + 1}")
        try:
            prepared = prepare(case)
        except ExportError:
            raise
        except LiversegError as error:
            bad[case.name] = str(error)
            continue
        keys = (prepared.series_key, prepared.ct_key)
        twin = next((owner[key] for key in keys if key in owner), None)
        if twin is not None:
            # The same CT on both sides of a fold would be a test on what was learnt.
            bad[case.name] = f"It is the same CT as '{twin}'. Leave one of them out."
            continue
        owner.update(dict.fromkeys(keys, case.name))
        good[case.name] = prepared
    if bad:
        raise CaseError(_report(bad, len(cases.cases)))
    return good


def _report(bad: dict[str, str], total: int) -> str:
    head = f"{len(bad)} of {total} cases cannot be trained on; nothing was trained."
    return "\n".join([head, *(f"  {name}: {reason}" for name, reason in bad.items())])
