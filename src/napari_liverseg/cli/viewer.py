"""The commands `view` and `demo`: open napari with the plugin's dock."""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_liverseg.core.errors import LiversegError, MissingExtraError

QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
"""Any of these serves napari; the package installs none by itself."""

NO_DISPLAY = "There is no display to open a window on."

VIRTUAL_SCREEN = "-screen 0 1600x1000x24"

HEADLESS = "NAPARI_LIVERSEG_HEADLESS"
"""Set to 1 it makes the demonstration end instead of waiting for its window."""


def view(
    path: Annotated[
        Path | None,
        typer.Argument(help="A CT file or a DICOM folder to open.", metavar="PATH"),
    ] = None,
) -> None:
    """Open napari with the liver segmentation dock, and PATH in it."""
    require_qt()
    _require_display()
    if sys.platform == "win32":
        _load_torch_first()
    _launch().view(path)


def demo(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results.", metavar="DIR"),
    ] = Path("out/demo"),
) -> None:
    """Segment the sample case through the plugin and keep the results."""
    require_qt()
    if not _has_display():
        raise typer.Exit(_demo_under_xvfb(output))
    if sys.platform == "win32":
        _load_torch_first()
    _launch().demo(output)


def require_qt() -> None:
    """Refuse to go on where napari has no Qt to draw with.

    Raises
    ------
    MissingExtraError
        With the pip command that installs one.
    """
    if not any(find_spec(binding) for binding in QT_BINDINGS):
        raise MissingExtraError(QT_BINDINGS[0], extra="gui", purpose="The window")


def _require_display() -> None:
    """Refuse where Qt would end the process with a core dump instead."""
    if not _has_display():
        next_step = (
            "Start it in a desktop session, or use 'napari-liverseg segment', "
            "which needs none."
        )
        raise LiversegError(NO_DISPLAY, next_step)


def _has_display() -> bool:
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, shown))


def _demo_under_xvfb(output: Path) -> int:
    """Run the demonstration on a virtual screen and return its exit code."""
    xvfb_run = shutil.which("xvfb-run")
    if xvfb_run is None:
        next_step = "Install Xvfb (Debian, Ubuntu: apt install xvfb) or use a desktop."
        raise LiversegError(NO_DISPLAY, next_step)
    screen = [xvfb_run, "--auto-servernum", "--server-args", VIRTUAL_SCREEN]
    program = [sys.executable, "-m", "napari_liverseg.cli", "demo", "-o", str(output)]
    environment = {**os.environ, HEADLESS: "1"}
    return subprocess.run([*screen, *program], env=environment, check=False).returncode


def _load_torch_first() -> None:
    """Load PyTorch before Qt, whose libraries break it on Windows (error 1114)."""
    from napari_liverseg.inference.devices import load_torch

    load_torch()


def _launch() -> Any:
    """Return `napari_liverseg.ui.launch`, by name.

    ui and cli are siblings that do not import each other, so that the command
    line works where napari's window cannot; only these two commands meet it,
    and in the same process, so that its errors end here as sentences.
    """
    return import_module("napari_liverseg.ui.launch")
