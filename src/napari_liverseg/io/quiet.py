"""Keep the chatter of C libraries off the terminal; errors come as exceptions."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING

import SimpleITK as sitk

if TYPE_CHECKING:
    from collections.abc import Iterator

sitk.ProcessObject.SetGlobalWarningDisplay(False)

_lock = threading.Lock()
_blocks: list[contextlib.ExitStack] = []


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence C-level stderr and Python warnings of file libraries inside the block.

    niftilib, MetaIO and the JPEG decoders print to file descriptor 2 what they
    also report, or worse, do not report as an error; every reader here proves
    its data itself. Blocks may nest and may be open on several threads: the
    first one in silences, the last one out restores.
    """
    with _lock:
        _blocks.append(_blocks[0] if _blocks else _silence())
    try:
        yield
    finally:
        with _lock:
            silenced = _blocks.pop()
            if not _blocks:
                silenced.close()


def _silence() -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")
    # A windowed Python may have no stderr and no descriptor 2.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        saved = os.dup(2)
        stack.callback(os.close, saved)
        stack.callback(os.dup2, saved, 2)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        os.close(sink)
    return stack
