"""Read a pickle of plain values and NumPy arrays without running anything it asks for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from engine.data.published import damaged
from engine.safe_files.arrays import STAND_INS, Array, text_of
from engine.safe_files.pickle_walk import BadPickle, walk

_MOST_BYTES = 2**30


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    return text.encode({"latin1": "latin1"}[encoding])


_STAND_INS: dict[tuple[str, str], Any] = {**STAND_INS, ("_codecs", "encode"): _encode}


class _Reader(pickle.Unpickler):
    """Knows stand-ins of our own and nothing else, so that no code of others is ever called."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}") from None


class _Forbidden(Exception):
    """A pickle asked for something that is no plain value."""


def read_table(file: Path) -> dict[str, Any]:
    """The dict in a pickle, with text as keys; arrays are integers.

    Raises:
        DataError: it is too large, truncated, no dict, or asks for anything but plain values
            and arrays of integers.
    """
    size = file.stat().st_size
    if size > _MOST_BYTES:
        raise damaged(file, f"it has {size:,} bytes, more than such a file can")
    try:
        content = file.read_bytes()
        for _ in walk(io.BytesIO(content), len(content)):
            pass  # what is nested too deeply, or too large for its size, raises
        # Written by Python 2: its strings are bytes here.
        table = _Reader(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(table, dict):
            raise TypeError
        return {text_of(key): _plain(value) for key, value in table.items()}
    except _Forbidden as error:
        raise damaged(
            file, f"it asks to load {error}, which pictures do not need and which could run code"
        ) from None
    except BadPickle as error:
        raise damaged(file, str(error)) from None
    except Exception:  # noqa: BLE001  bad bytes can make an unpickler raise anything
        raise damaged(file, "it is truncated or no pickled table of arrays") from None


def _plain(value: object) -> object:
    if not isinstance(value, Array):
        return value
    found = value.array()
    if found.dtype.kind not in "iu":
        raise TypeError
    return found
