"""Any error as one sentence on what is wrong and one on what to do."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from napari_liverseg.core.errors import LiversegError


@dataclass(frozen=True)
class Sentence:
    """What the window says about an error.

    Parameters
    ----------
    text : str
        What is wrong and what to do.
    details : str
        What a developer needs; shown on request, empty for a plain refusal.
    """

    text: str
    details: str = ""


def explain(error: BaseException) -> Sentence:
    """Return an error in a radiologist's words, with its traceback as details."""
    details = "".join(traceback.format_exception(error)).strip()
    if isinstance(error, LiversegError):
        return Sentence(str(error), details if error.__cause__ else "")
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        text = (
            "There was not enough memory. Close other programs, or choose 'cpu' as "
            "the device, and try again."
        )
        return Sentence(text, details)
    if isinstance(error, PermissionError):
        text = f"There is no permission for {error.filename}. Choose another folder."
        return Sentence(text, details)
    if isinstance(error, OSError) and error.strerror:
        text = f"The disk refused: {error.strerror} ({error.filename or 'no file'})."
        return Sentence(f"{text} Check the folder and the free space.", details)
    text = (
        f"Something unexpected went wrong ({type(error).__name__}: {error}). "
        "Nothing was changed. Try again; if it stays, send the details to us."
    )
    return Sentence(text, details)
