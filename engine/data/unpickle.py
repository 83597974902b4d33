"""Read a pickle of plain values and NumPy arrays without running anything it asks for."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.published import damaged
from engine.safe_files.pickle_walk import BadPickle, walk

_MOST_BYTES = 2**30
_KINDS = {"u1": np.uint8, "i4": np.int32, "i8": np.int64}


class _Dtype:
    """Stands in for ``numpy.dtype``: remembers the name it is made with."""

    def __init__(self, name: bytes | str, *_: object) -> None:
        self.name = _text(name)

    def __setstate__(self, state: object) -> None:
        """Byte order and the like; what is read here is little-endian or single bytes."""


class _Array:
    """Stands in for ``numpy.ndarray``: remembers the state it is given."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> npt.NDArray[np.integer[Any]]:
        """The array that was meant."""
        _, shape, dtype, fortran, raw = self.state
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        flat = np.frombuffer(data, dtype=_KINDS[dtype.name])
        return flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _frombuffer(raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(raw))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    return text.encode({"latin1": "latin1"}[encoding])


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}


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
        return {_text(key): _plain(value) for key, value in table.items()}
    except _Forbidden as error:
        raise damaged(
            file, f"it asks to load {error}, which pictures do not need and which could run code"
        ) from None
    except BadPickle as error:
        raise damaged(file, str(error)) from None
    except Exception:  # noqa: BLE001  bad bytes can make an unpickler raise anything
        raise damaged(file, "it is truncated or no pickled table of arrays") from None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, str):
        return value
    raise TypeError


def _plain(value: object) -> object:
    return value.array() if isinstance(value, _Array) else value
