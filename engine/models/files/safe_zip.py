"""Zip archives of torch, looked over before anything in them is read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engine.errors import ModelError

_MOST_ENTRIES = 200_000


def damaged(name: str, reason: str = "") -> ModelError:
    """The error for a file that is not whole."""
    detail = f": {reason}" if reason else ""
    return ModelError(
        f"The file {name} is damaged or truncated{detail}.", "Copy or download it again."
    )


def entry_names(file: Path, name: str) -> list[str]:
    """The names of the entries of an archive of any kind; nothing in it is unpacked.

    Raises:
        ModelError: it is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise damaged(name, str(error).rstrip(".")) from None


def _all(_: str) -> bool:
    return True


def open_zip(
    file: Path | IO[bytes], name: str, read: Callable[[str], object] = _all
) -> zipfile.ZipFile:
    """Open an archive whose entries hold no more bytes than the file.

    torch stores without compression, so nothing in an honest archive can grow.

    Args:
        file: the path, or the file.
        name: of the file, for messages.
        read: which entries will be read; the others may be compressed.

    Raises:
        ModelError: it is damaged, compressed, or declares more than it holds.
    """
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise damaged(name, str(error).rstrip(".")) from None
    size = archive.fp.seek(0, 2) if archive.fp else 0
    wanted = [entry for entry in entries if read(entry.filename)]
    declared = sum(max(entry.file_size, 0) for entry in wanted)
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in wanted)
    names = {entry.filename for entry in entries}
    trouble = ""
    if packed or declared > size:
        trouble = (
            f"its entries unpack to {declared:,} bytes from {size:,}; torch stores checkpoints "
            "without compression"
        )
    elif len(entries) > _MOST_ENTRIES or len(names) != len(entries):
        trouble = (
            f"it has {len(entries):,} entries, {len(names):,} of them with a name of their own"
        )
    if trouble:
        archive.close()
        raise ModelError(
            f"The archive {name} is refused: {trouble}.", "Save the state dict again by torch.save."
        )
    return archive


def read_entry(archive: zipfile.ZipFile, entry: str, name: str) -> bytes:
    """The bytes of one entry, its checksum verified.

    Raises:
        ModelError: the entry is missing or damaged.
    """
    try:
        return archive.read(entry)
    except (KeyError, zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError) as error:
        raise damaged(name, str(error).strip("'\"").rstrip(".")) from None


def check_sums(archive: zipfile.ZipFile, name: str) -> None:
    """Verify every entry.

    Raises:
        ModelError: one cannot be read as it is declared, or its checksum is wrong.
    """
    try:
        bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError) as error:
        raise damaged(name, str(error).rstrip(".")) from None
    if bad is not None:
        raise damaged(name, f"the checksum of {bad} is wrong")
