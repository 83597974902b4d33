"""Fetch published datasets from where torchvision says they are: checked, and resumed."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.catalog import missing_files
from engine.errors import DataError, DownloadError
from engine.events import ShouldStop
from engine.host.downloads import Digest, Progress, fetch


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
        DataError: the folder cannot be written, or what came is no such dataset.
        DownloadError: no address answers, or the checksum is wrong.
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
    ours = not packed.is_file() or not Digest("md5", archive.md5).fits(packed)
    if ours:
        _fetch_any(archive, packed, progress, should_stop)
    if packed.suffix == ".gz":
        _unpack(packed, root / archive.folder)
        if ours:
            packed.unlink()


def _fetch_any(archive: Archive, target: Path, progress: Progress, should_stop: ShouldStop) -> None:
    for place, url in enumerate(archive.urls, 1):
        try:
            fetch(url, target, Digest("md5", archive.md5), progress, should_stop)
        except DownloadError:
            if place == len(archive.urls):
                raise
        else:
            return


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
