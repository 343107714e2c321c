"""Addresses of a scheduler, and how a connection to one is secured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path

PATTERN = re.compile(r"(tcp|tls)://([^\s/:]+|\[[0-9a-f:]+\]):([0-9]{1,5})", re.I)

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

EXAMPLE = "tls://scheduler.hospital.example:8786"


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM that prove each side of a connection to the other.

    Parameters
    ----------
    authority, certificate, key : Path
        Of the authority that signed both sides; of this side.
    """

    authority: Path
    certificate: Path
    key: Path


def parse_address(text: str) -> str:
    """Return the address of a scheduler as Dask spells it.

    Raises
    ------
    DeviceError
        When it is none.
    """
    address = text.strip()
    match = PATTERN.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 2**16:
        found = f"'{address}' is no address of a scheduler."
        raise DeviceError(found, f"Write it as tcp://HOST:PORT or {EXAMPLE}.")
    return f"{match[1].lower()}://{match[2]}:{int(match[3])}"


def is_address(text: str) -> bool:
    """Whether a device's name is the address of a scheduler."""
    return PATTERN.fullmatch(text.strip()) is not None


def is_open(address: str) -> bool:
    """Whether what goes to an address can be read, and answered, by others."""
    match = PATTERN.fullmatch(address)
    return match is None or (match[1] == "tcp" and match[2] not in LOOPBACK)
