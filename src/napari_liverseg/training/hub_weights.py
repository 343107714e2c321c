"""ImageNet weights of residual networks, fetched once where a recipe asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.progress import ignore_progress
from napari_liverseg.models.download import download
from napari_liverseg.models.foreign_file import refuse_absurd_weights
from napari_liverseg.models.known_weights import file_sha256

if TYPE_CHECKING:
    from napari_liverseg.core.progress import OnProgress

HUB = "hub"
"""What a recipe says of its weights in place of a file's path."""

ADDRESS = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class HubFile:
    """One file of torchvision's, trained on ImageNet.

    Parameters
    ----------
    name : str
        Ends with the first digits of its hash.
    sha256 : str
        In hex.
    """

    name: str
    sha256: str

    @property
    def title(self) -> str:
        """What it is, for a model's card."""
        return f"torchvision's ImageNet weights {self.name}"

    @property
    def address(self) -> str:
        """Where it is published."""
        return f"{ADDRESS}/{self.name}"


FILES = {
    18: HubFile(
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    34: HubFile(
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    ),
    50: HubFile(
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
    ),
}
"""By the network's depth. Names are torchvision's and hold too few digits of a hash to
stop a forger; the others are as independent projects that have the files quote them."""


def weights_title(weights: str, depth: int) -> str:
    """Return what a recipe's weights are, for a model's card: of a file its name."""
    if weights == HUB:
        return FILES[depth].title
    return f"the weights '{PureWindowsPath(weights).name}'"


def refuse_unpublished(weights: str | None, depth: int, width: float) -> None:
    """Refuse a recipe that asks for weights which nobody publishes.

    Raises
    ------
    ValueError
        With the field, as a recipe's check wants it.
    """
    if weights == HUB and (depth not in FILES or width != 1):
        depths = ", ".join(map(str, FILES))
        msg = f"weights: {HUB} is for a depth of {depths} and a width of 1"
        raise ValueError(msg)
    # A card keeps the last name alone, and would take such a file for the hub's.
    if weights not in (None, HUB) and PureWindowsPath(str(weights)).name == HUB:
        msg = f"weights cannot be a file that is itself called '{HUB}'"
        raise ValueError(msg)


def weights_file(
    weights: str, depth: int, on_progress: OnProgress = ignore_progress
) -> Path:
    """Return the file that a recipe's weights are in.

    Parameters
    ----------
    weights : str
        A path, or `HUB`: then torchvision's are fetched, unless torch's cache has them.
    depth : int
        Of the network.
    on_progress : callable
        Told before something is fetched.

    Raises
    ------
    ModelError
        When they cannot be fetched, or are not torchvision's.
    """
    if weights != HUB:
        return Path(weights).expanduser()
    file = FILES[depth]
    path = _cache() / file.name
    if not path.is_file():
        _fetch(file, path, on_progress)
    refuse_absurd_weights(path)
    if file_sha256(path) != file.sha256:
        found = f"{path} is not the file of that name that torchvision publishes."
        raise ModelError(found, "Remove it, so that it is fetched again.")
    return path


def _cache() -> Path:
    """Return where torch keeps such files, and torchvision looks for them."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _fetch(file: HubFile, path: Path, on_progress: OnProgress) -> None:
    on_progress(0, 1, f"Fetching {file.title}")
    try:
        download(file.address, path, on_progress)
    except ModelError as error:
        found = f"Fetching {file.title} failed ({error.found.rstrip('.')})."
        raise ModelError(found, _by_hand(file)) from error
    if file_sha256(path) != file.sha256:
        path.unlink()
        found = f"What came from {file.address} is not what torchvision has put there."
        raise ModelError(found, _by_hand(file))


def _by_hand(file: HubFile) -> str:
    return (
        f"Get {file.address} on another computer and put it into {_cache()}, or write "
        f"its path in place of '{HUB}'."
    )
