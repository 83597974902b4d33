"""What a person trusts, and how each method described itself: one JSON file of the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import StoreError
from engine.extensions.description import Description
from engine.extensions.providers import Provider
from engine.host import paths

_PATIENCE = 30
"""Seconds to wait for another process that writes."""


class Known(BaseModel):
    """A provider as it was asked.

    Attributes:
        provider: with its hash: of a file, this is what is trusted.
        methods: what it brings.
        problem: why it brings nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    provider: Provider
    methods: tuple[Description, ...] = ()
    problem: str = ""


class Record(BaseModel):
    """All files that are trusted, and all packages that were asked.

    Attributes:
        files: with methods, which run in studies.
        packages: likewise.
        networks: files of which networks were imported; they run when they are imported from again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    files: tuple[Known, ...] = ()
    packages: tuple[Known, ...] = ()
    networks: tuple[Provider, ...] = ()


def read() -> Record:
    """The record; empty if there is none.

    Raises:
        StoreError: it cannot be read.
    """
    path = paths.methods()
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Record()
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StoreError(
            f"The record of trusted methods {path} cannot be read: {reason}.",
            "Delete it, and trust your files again: crumple methods add.",
        ) from None


def change(how: Callable[[Record], Record]) -> None:
    """Write the record anew, whole or not at all.

    Raises:
        StoreError: it cannot be read or written.
    """
    from filelock import FileLock  # seldom wanted, and slow to import

    path = paths.methods()
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_PATIENCE):
            record = how(read())
            partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            os.replace(partial, path)
    except (OSError, TimeoutError) as error:
        raise StoreError(
            f"The record of trusted methods {path} cannot be written: {error}."
        ) from None
