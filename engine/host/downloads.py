"""Fetch a file over HTTP: told how far it is, checked, and resumed."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Cancelled, DownloadError
from engine.events import ShouldStop

Progress = Callable[[str, int, int | None], None]
"""Told the name of the file, the bytes that are there, and how many there will be if known."""

_CHUNK = 2**18
_TIMEOUT = 30.0
_AGENT = "crumple"


@dataclass(frozen=True)
class Digest:
    """What the bytes of a file must come to.

    Attributes:
        algorithm: as ``hashlib`` names it.
        value: hexadecimal digits that the digest begins with: all of them, or the first few.
    """

    algorithm: str
    value: str

    def fits(self, file: Path) -> bool:
        """Whether a file is this one."""
        with file.open("rb") as content:
            found = hashlib.file_digest(content, self.algorithm).hexdigest()
        return found.startswith(self.value)


def fetch(
    url: str,
    target: Path,
    digest: Digest | None,
    progress: Progress,
    should_stop: ShouldStop = lambda: False,
) -> None:
    """Download one file, from where an earlier try ended; it is there whole or not at all.

    Until then its bytes lie beside it in a ``.part`` file.

    Args:
        digest: what it must come to; None takes whatever came whole.

    Raises:
        DownloadError: the address does not answer, the connection ended early, or the checksum
            is wrong; in the last case nothing is left behind.
        Cancelled: it was stopped.
        OSError: the file cannot be written.
    """
    partial = target.with_name(f"{target.name}.part")
    try:
        _receive(url, partial, progress, should_stop)
    except urllib.error.HTTPError as error:
        error.close()
        raise _unreachable(url, f"{error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise _unreachable(url, str(reason)) from None
    except (http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
        raise _unreachable(url, str(error) or type(error).__name__) from None
    if digest is not None and not digest.fits(partial):
        partial.unlink()
        raise DownloadError(
            f"What {url} sent has another checksum than published, so it was deleted.",
            "Try again later; if it stays so, get the file elsewhere and name where it is.",
        )
    os.replace(partial, target)


def _receive(url: str, partial: Path, progress: Progress, should_stop: ShouldStop) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": _AGENT, **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            error.close()
            return  # nothing is left to send: the checksum decides
        raise
    with answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        done = have if resumed else 0
        total = None if answer.length is None else done + answer.length
        with partial.open("ab" if resumed else "wb") as file:
            name = partial.name.removesuffix(".part")
            progress(name, done, total)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(name, done, total)
                if should_stop():
                    raise Cancelled
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")


def _unreachable(url: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{url} cannot be downloaded: {reason}.",
        "Check the connection and start the download again: it goes on where it stopped.",
    )
