"""NumPy arrays in pickles, read by stand-ins: nothing of NumPy's own is ever called by a file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

_KINDS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
"""Names of numbers of fixed size; objects, texts and records are not read."""


class Dtype:
    """Stands in for ``numpy.dtype``: remembers the name and the order of bytes."""

    order = "<"

    def __init__(self, name: bytes | str, *_: object) -> None:
        self.name = text_of(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """(version, order of bytes, ...); what follows belongs to other kinds."""
        self.order = text_of(state[1])

    def numpy(self) -> np.dtype[Any]:
        """The type that was meant.

        Raises:
            ValueError: it is none of plain numbers.
        """
        if self.name not in _KINDS or self.order not in ("<", ">", "|", "="):
            raise ValueError(f"the type {self.name[:20]!r}")
        return np.dtype(self.name).newbyteorder(">" if self.order == ">" else "<")


class Array:
    """Stands in for ``numpy.ndarray``: remembers the state it is given."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> npt.NDArray[Any]:
        """The array that was meant, in the order of bytes of this computer.

        Raises:
            ValueError: it is none of plain numbers, or its bytes do not fill its shape.
        """
        try:
            _, shape, dtype, fortran, raw = self.state
            data = raw.encode("latin1") if isinstance(raw, str) else bytes(memoryview(raw))
            kind = dtype.numpy()
        except (AttributeError, TypeError, UnicodeError) as error:
            raise ValueError("an array of no plain numbers") from error
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("a shape of no whole numbers")
        if math.prod(shape) * kind.itemsize != len(data):
            raise ValueError("another size than its bytes")
        flat = np.frombuffer(data, dtype=kind).astype(kind.newbyteorder("="))
        return flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> Array:
    return Array()


def _frombuffer(raw: Any, dtype: Dtype, shape: tuple[int, ...], order: str) -> Array:
    array = Array()
    array.state = (1, shape, dtype, text_of(order) == "F", bytes(raw))
    return array


def _scalar(dtype: Any, raw: Any = b"") -> bool | int | float | None:
    """A number as one of Python; None for what is no plain number."""
    try:
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        found: bool | int | float = np.frombuffer(data, dtype=dtype.numpy())[0].item()
    except (AttributeError, TypeError, ValueError, IndexError, UnicodeError):
        return None
    return found


def text_of(value: object) -> str:
    """A text, which Python 2 wrote as bytes.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, str):
        return value
    raise TypeError


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
"""By module and name, those of NumPy 1 and 2."""
