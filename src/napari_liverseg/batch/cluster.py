"""Workers of Dask: those of a scheduler somewhere, or processes of our own."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.address import parse_address
from napari_liverseg.batch.crew import Crew
from napari_liverseg.core.errors import DeviceError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from napari_liverseg.batch.address import TlsFiles

CONNECT_S = 5
"""A scheduler that does not answer for so long is not there."""


@contextmanager
def connected(
    address: str, tls: TlsFiles | None = None, device: str = "auto"
) -> Iterator[Crew]:
    """Yield the workers of a scheduler that runs already.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.
    tls : TlsFiles or None
        None takes what Dask's own configuration says.
    device : str
        Where each worker computes.

    Raises
    ------
    DeviceError
        When nothing answers there, or one side does not trust the other.
    MissingExtraError
        When Dask is not installed.
    """
    distributed = load_distributed()
    address = parse_address(address)
    client = distributed.Client.__new__(distributed.Client)
    try:
        security = _security(distributed, tls)
        client.__init__(
            address, timeout=CONNECT_S, security=security, set_as_default=False
        )
    except (OSError, TimeoutError, RuntimeError, ValueError, TypeError) as error:
        # Half made, it would close itself whenever memory is collected: under some
        # lock of Dask's own, where nobody comes out again.
        if hasattr(client, "status"):
            _close(client)
        found = f"No scheduler answers at {address} ({type(error).__name__})."
        step = "Check the address and that it runs; with tls:// also the certificates."
        raise DeviceError(found, step) from error
    try:
        yield Crew(client, address, (device,))
    finally:
        _close(client)


@contextmanager
def local_workers(count: int | None = None, device: str = "auto") -> Iterator[Crew]:
    """Yield processes on this computer that end with the block.

    Parameters
    ----------
    count : int or None
        None: one on each NVIDIA GPU, or one.
    device : str
        As `inference.devices.resolve` takes it; ``auto`` and ``cuda`` share the
        workers out among all NVIDIA GPUs.

    Raises
    ------
    DeviceError
        When the device is missing.
    MissingExtraError
        When Dask is not installed.
    """
    distributed = load_distributed()
    devices = _devices(device)
    workers = count or len(devices)
    from dask.system import CPU_COUNT

    cluster = distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=max(1, CPU_COUNT // workers),
        processes=True,
        memory_limit=None,  # dask would kill a worker on a large CT
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=logging.CRITICAL,
        security=_own_security(distributed),
    )
    try:
        client = distributed.Client(cluster, set_as_default=False)
        try:
            yield Crew(client, cluster.scheduler_address, devices)
        finally:
            _close(client)
    finally:
        cluster.close()


def load_distributed() -> ModuleType:
    """Return the module `distributed`.

    Raises
    ------
    MissingExtraError
    """
    try:
        import distributed
    except ImportError as error:
        package = "distributed"
        raise MissingExtraError(package, "cluster", "A cluster") from error
    module: ModuleType = distributed
    return module


def _devices(device: str) -> tuple[str, ...]:
    """Return the devices that local workers are shared out among."""
    from napari_liverseg.inference.devices import available_devices, resolve

    chosen = resolve(device)
    if chosen.kind == "cuda" and device in ("auto", "cuda"):
        return tuple(d.name for d in available_devices() if d.kind == "cuda")
    return (chosen.name,)


def _security(distributed: ModuleType, tls: TlsFiles | None) -> Any:
    if tls is None:
        return distributed.Security()
    for file in (tls.authority, tls.certificate, tls.key):
        if not file.is_file():
            found = f"The file '{file.name}' of the certificates is not there."
            raise DeviceError(found, "Check --tls-ca, --tls-cert and --tls-key.")
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=str(tls.authority),
        tls_client_cert=str(tls.certificate),
        tls_client_key=str(tls.key),
    )


def _own_security(distributed: ModuleType) -> Any:
    """Return certificates for this batch alone, where they can be made.

    Without them other users of the same computer could reach our workers.
    """
    if importlib.util.find_spec("cryptography") is None:
        return None
    return distributed.Security.temporary()


def _close(client: Any) -> None:
    """Let go of a scheduler, be it that it is gone."""
    with contextlib.suppress(OSError, TimeoutError, RuntimeError):
        client.close(timeout=CONNECT_S)
