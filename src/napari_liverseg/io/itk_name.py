"""A path as SimpleITK takes it: a name that is no text would end the program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError, LiversegError

if TYPE_CHECKING:
    from pathlib import Path


def itk_name(path: Path, refusal: type[LiversegError] = CaseError) -> str:
    """Return the name to give to SimpleITK, whose C++ aborts over one without UTF-8.

    Disks on Linux hold such names where another system wrote 'Müller' in Latin-1.

    Parameters
    ----------
    path : Path
    refusal : type
        What to raise.

    Raises
    ------
    LiversegError
        The file's name, or that of a folder above it, is no UTF-8.
    """
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        told = os.fsencode(path.name).decode(errors="replace")
        found = f"'{told}' or a folder above it has a name in an unknown encoding."
        step = "Give both names without umlauts or accents, and try again."
        raise refusal(found, step) from None
    return name
