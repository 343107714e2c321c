"""What can go wrong, in sentences that a radiologist can act on."""

from __future__ import annotations


class LiversegError(Exception):
    """A refusal with its reason and the next step.

    Parameters
    ----------
    found : str
        One sentence: the thing, what was found, what was expected.
    next_step : str
        One sentence: what the user can do now.
    """

    def __init__(self, found: str, next_step: str = "") -> None:
        self.found = found
        self.next_step = next_step
        super().__init__(f"{found} {next_step}".strip())


class CaseError(LiversegError):
    """A CT or a label map that cannot be read as what it should be."""


class GeometryMismatchError(LiversegError):
    """Two grids that should be the same in patient space are not."""


class ExportError(LiversegError):
    """A result that could not be written and proven."""


class ModelError(LiversegError):
    """A model that is missing, broken or not what its spec says."""


class DeviceError(LiversegError):
    """A computing device that is missing or too small."""


class MissingExtraError(LiversegError):
    """An optional package that this step needs is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed.",
            f'Run: pip install "napari-liverseg[{extra}]"',
        )


class CancelledError(Exception):
    """The user asked to stop; nothing is wrong."""
