"""Fetch published datasets from where torchvision says they are: checked, and resumed."""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import ssl
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.catalog import missing_files
from engine.errors import Cancelled, DataError
from engine.events import ShouldStop

Progress = Callable[[str, int, int | None], None]
"""Told the name of the file, the bytes that are there, and how many there will be if known."""

_CHUNK = 2**18
_TIMEOUT = 30.0
_AGENT = "crumple"


@dataclass(frozen=True)
class Archive:
    """A file to fetch.

    Attributes:
        urls: where it is; the next is tried if one does not answer.
        name: its file name.
        md5: its checksum.
        folder: where its contents belong, below the root.
    """

    urls: tuple[str, ...]
    name: str
    md5: str
    folder: str = ""


def archives(name: str) -> tuple[Archive, ...]:
    """What a published dataset is made of, with torchvision's addresses and checksums."""
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, SVHN

    if name in ("cifar10", "cifar100"):
        cifar = CIFAR10 if name == "cifar10" else CIFAR100
        return (Archive((cifar.url,), cifar.filename, cifar.tgz_md5),)
    if name == "svhn":
        chosen = (SVHN.split_list[part] for part in ("train", "test"))
        return tuple(Archive((url,), file, md5) for url, file, md5 in chosen)
    return tuple(
        Archive(tuple(f"{mirror}{file}" for mirror in MNIST.mirrors), file, md5, "MNIST/raw")
        for file, md5 in MNIST.resources
    )


def download(
    name: str, root: Path, progress: Progress, should_stop: ShouldStop = lambda: False
) -> None:
    """Fetch what is missing of a published dataset and unpack it below the root.

    Stopped or cut off, it leaves a ``.part`` file and goes on from there the next time. What
    has another checksum than published is deleted.

    Raises:
        DataError: the folder cannot be written, no address answers, or the checksum is wrong.
        Cancelled: it was stopped.
    """
    if not missing_files(name, root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        for archive in archives(name):
            if not _unpacked(archive, root).is_file():
                _obtain(archive, root, progress, should_stop)
    except tarfile.TarError as error:
        raise DataError(
            f"What was downloaded for {name!r} cannot be unpacked: {error}.",
            "Delete the archive and download it again.",
        ) from None
    except OSError as error:
        raise DataError(
            f"The folder {root} cannot be written: {error.strerror or error}.",
            "Choose a folder that you can write to and that has room.",
        ) from None
    left = missing_files(name, root)
    if left:
        raise DataError(f"After the download of {name!r} there is no {root / left[0]}.")


def _unpacked(archive: Archive, root: Path) -> Path:
    """What is there once a single file has been unpacked; of a tar that is never there."""
    return root / archive.folder / archive.name.removesuffix(".gz")


def _obtain(archive: Archive, root: Path, progress: Progress, should_stop: ShouldStop) -> None:
    """Fetch and unpack; a good archive that lies there already is used and left."""
    packed = root / archive.name
    ours = not packed.is_file() or _md5(packed) != archive.md5
    if ours:
        _fetch_any(archive, packed, progress, should_stop)
    if packed.suffix == ".gz":
        _unpack(packed, root / archive.folder)
        if ours:
            packed.unlink()


def _fetch_any(archive: Archive, target: Path, progress: Progress, should_stop: ShouldStop) -> None:
    for place, url in enumerate(archive.urls, 1):
        try:
            fetch(url, target, archive.md5, progress, should_stop)
        except DataError:
            if place == len(archive.urls):
                raise
        else:
            return


def fetch(
    url: str, target: Path, md5: str, progress: Progress, should_stop: ShouldStop = lambda: False
) -> None:
    """Download one file, from where an earlier try ended; it is there whole or not at all.

    Raises:
        DataError: the address does not answer, the connection ended early, or the checksum is
            wrong; in the last case nothing is left behind.
        Cancelled: it was stopped.
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
    if _md5(partial) != md5:
        partial.unlink()
        raise DataError(
            f"What {url} sent has another checksum than published, so it was deleted.",
            "Try again later; if it stays so, get the dataset elsewhere and name its folder.",
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


def _unreachable(url: str, reason: str) -> DataError:
    return DataError(
        f"{url} cannot be downloaded: {reason}.",
        "Check the connection and start the download again: it goes on where it stopped.",
    )


def _md5(file: Path) -> str:
    from torchvision.datasets.utils import calculate_md5

    return str(calculate_md5(file))


def _unpack(packed: Path, folder: Path) -> None:
    """Put the contents of an archive in place, each file whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as name:
        room = Path(name)
        if packed.name.endswith(".tar.gz"):
            with tarfile.open(packed) as archive:
                archive.extractall(room, filter="data")
        else:
            with gzip.open(packed) as whole, (room / packed.stem).open("wb") as file:
                shutil.copyfileobj(whole, file)
        for source in sorted(path for path in room.rglob("*") if path.is_file()):
            target = folder / source.relative_to(room)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
