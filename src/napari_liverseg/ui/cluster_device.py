"""A cluster among the devices: its address is asked for once and remembered."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QInputDialog

from napari_liverseg.batch.address import EXAMPLE, is_address, parse_address
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox

    from napari_liverseg.ui.message import MessageArea

ASK = "cluster"
"""What the entry that asks for an address holds."""

KEPT = 5
QUESTION = (
    f"Address of the cluster's scheduler, such as {EXAMPLE}.\n"
    "The CT's voxels are sent there, without names. Enter only the address of a "
    "cluster that you trust,\nand with tcp:// only one on a network that you trust."
)


class ClusterDevice(QObject):
    """Asks for the address of a cluster when its entry is chosen.

    Parameters
    ----------
    box : QComboBox
        The list of devices.
    messages : MessageArea
        Where it says what is wrong with an address.
    """

    def __init__(self, box: QComboBox, messages: MessageArea) -> None:
        super().__init__(box)
        self._box, self._messages = box, messages
        self._before: str | None = None
        box.currentIndexChanged.connect(self._on_change)
        box.activated.connect(self._on_chosen)

    def _on_change(self, index: int) -> None:
        # By name: after a run the list is filled anew, and in another order.
        if self._box.itemData(index) != ASK:
            self._before = self._box.itemData(index)

    def _on_chosen(self, index: int) -> None:
        if self._box.itemData(index) != ASK:
            return
        self._box.setCurrentIndex(max(self._box.findData(self._before), 0))
        text, agreed = QInputDialog.getText(self._box, "Cluster", QUESTION)
        if not agreed:
            return
        try:
            address = parse_address(text)
        except DeviceError as error:
            self._messages.show_error("cluster", error)
            return
        remember(address)
        if self._box.findData(address) < 0:
            # A run may have ended while the question was open.
            self._box.insertItem(self._box.findData(ASK), title_of(address), address)
        self._box.setCurrentIndex(self._box.findData(address))


def entries() -> dict[str, str]:
    """Return the titles of the clusters known, by address, and of the question."""
    known = {address: title_of(address) for address in remembered()}
    return {**known, ASK: "Cluster…"}


def is_here(device: str | None) -> bool:
    """Whether an entry of the list of devices is a device of this computer."""
    return device is not None and device != ASK and not is_address(device)


def title_of(address: str) -> str:
    """Return what the list calls a cluster."""
    return f"Cluster {address}"


def remembered() -> tuple[str, ...]:
    """Return the addresses entered so far, the latest first."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(_file().read_text(encoding="utf-8"))
        texts = [text for text in content["addresses"] if isinstance(text, str)]
        return tuple(text for text in texts if is_address(text))
    return ()


def remember(address: str) -> None:
    """Keep an address for the next time; where that fails, it is asked for again."""
    others = (known for known in remembered() if known != address)
    text = json.dumps({"addresses": [address, *others][:KEPT]}, indent=2)
    path = _file()
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(f"{text}\n", encoding="utf-8")
        part.replace(path)


def _file() -> Path:
    return data_folder() / "clusters.json"
