"""A file from the network, taken up again where a broken connection left it."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.progress import ignore_progress, never_cancelled, stop_if

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.progress import IsCancelled, OnProgress

MAX_BYTES = 8 * 1024**3
"""No weights are larger."""

ATTEMPTS = 5
"""Times that a connection may break without a byte gained before we give up."""

TIMEOUT_S = 30
BLOCK = 1024**2
MB = 1_000_000

BROKEN = (urllib.error.URLError, http.client.HTTPException, OSError)

ELSEWHERE = (
    "Check the network, set NAPARI_LIVERSEG_MIRROR, or fetch the file on another "
    "computer and give it with --from-file."
)


@dataclass
class _Part:
    """What is there of a file, and which version of it."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def _tag_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.tag")

    @property
    def tag(self) -> str:
        """What the server called this version; empty where it said nothing."""
        return self._tag_file.read_text() if self._tag_file.exists() else ""

    def restart(self, tag: str) -> None:
        """Begin anew with another version."""
        self.path.write_bytes(b"")
        self._tag_file.write_text(tag)

    def clear(self) -> None:
        """Forget all of it."""
        self.path.unlink(missing_ok=True)
        self._tag_file.unlink(missing_ok=True)


def download(
    address: str,
    target: Path,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
) -> None:
    """Fetch a file; what an earlier call got of the same version is kept.

    Parameters
    ----------
    address : str
        ``https://`` or, for a mirror, ``http://``.
    target : Path
        Made at the end; what is there so far lies beside it as ``.part``.
    on_progress : callable
        Told ``(done, total, text)`` in MB.
    is_cancelled : callable
        Asked once per block.

    Raises
    ------
    ModelError
        When the address is no web address, nothing is there, or the connection
        breaks again and again.
    CancelledError
        Once `is_cancelled` returns True; what was fetched stays for next time.
    """
    if urllib.parse.urlsplit(address).scheme not in ("https", "http"):
        found = f"'{address}' is no web address."
        raise ModelError(found, "Give one that begins with https://.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target.with_name(f"{target.name}.part"))
    failures, last = 0, None
    while failures < ATTEMPTS:
        before = part.size
        try:
            if _attempt(address, part, on_progress, is_cancelled):
                break
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _refused_by_server(address, error.code) from error
            part.clear()  # the file changed and is shorter now
        except BROKEN as error:
            last = error
        failures = 0 if part.size > before else failures + 1
    else:
        raise _broken(address, part.size, last) from last
    part.path.replace(target)
    part.clear()


def _attempt(
    address: str, part: _Part, on_progress: OnProgress, is_cancelled: IsCancelled
) -> bool:
    """Fetch what is missing as far as one connection holds; return whether all."""
    request = urllib.request.Request(address, headers=_wishes(part))
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(request, timeout=TIMEOUT_S) as reply:
        goes_on = reply.status == http.client.PARTIAL_CONTENT and (
            _start(reply) == part.size
        )
        if not goes_on:
            if reply.status == http.client.PARTIAL_CONTENT:
                part.clear()
                return False
            headers = reply.headers
            part.restart(headers.get("ETag") or headers.get("Last-Modified") or "")
        total = part.size + int(reply.headers.get("Content-Length") or 0)
        _refuse_size(total, part, address)
        with part.path.open("ab") as file:
            while block := reply.read(BLOCK):
                file.write(block)
                stop_if(is_cancelled)
                done = file.tell()
                _refuse_size(done, part, address)
                said = f"Fetching {done / MB:.0f} of {total / MB:.0f} MB"
                on_progress(done // MB, max(total // MB, 1), said)
        declared = reply.headers.get("Content-Length") is not None
    return part.size >= total if declared else True


def _wishes(part: _Part) -> dict[str, str]:
    """Return the headers that ask for the rest of the same version, or for all.

    Weak tags tell no versions apart byte by byte, so that they start anew.
    """
    headers = {"User-Agent": "napari-liverseg", "Accept-Encoding": "identity"}
    if part.size and part.tag and not part.tag.startswith("W/"):
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.tag}
    return headers


def _start(reply: Any) -> int:
    """Return where a partial reply begins, or -1."""
    words = str(reply.headers.get("Content-Range") or "").removeprefix("bytes ")
    first = words.partition("-")[0]
    return int(first) if first.isdecimal() else -1


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from a safe connection to an open one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request, or refuse it."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("https", "http") or (
            req.type == "https" and scheme != "https"
        ):
            found = f"'{req.full_url}' leads on to an address that is not safe."
            raise ModelError(found, ELSEWHERE)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_size(total: int, part: _Part, address: str) -> None:
    if total > MAX_BYTES:
        part.clear()
        found = f"The file at '{address}' is larger than {MAX_BYTES // MB} MB."
        raise ModelError(found, "Check the address.")
    if total - part.size > shutil.disk_usage(part.path.parent).free:
        found = f"The file needs {total // MB} MB of disk space."
        raise ModelError(found, "Make room and run the command again.")


def _refused_by_server(address: str, code: int) -> ModelError:
    found = f"The server has no file for us at '{address}' (HTTP {code})."
    return ModelError(found, ELSEWHERE)


def _broken(address: str, size: int, error: Exception | None) -> ModelError:
    host = urllib.parse.urlsplit(address).hostname
    reason = getattr(error, "reason", None) or error or "it ended early"
    found = f"The connection to {host} broke after {size / MB:.1f} MB ({reason})."
    step = "Run the command again: it goes on from there." if size else ELSEWHERE
    return ModelError(found, step)
