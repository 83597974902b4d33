"""Matrices of numbers from MATLAB files of the versions 5 to 7.2.

Read here and not by ``scipy.io``, whose compiled reader believes what a file says of itself and
ends the process on a damaged one. Format: "MAT-File Format", The MathWorks, level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8",
           12: "<i8", 13: "<u8"}  # fmt: skip
"""How numbers lie in the file, by the number of the type."""
_MEANT = {6: "<f8", 7: "<f4", 8: "<i1", 9: "<u1", 10: "<i2", 11: "<u2", 12: "<i4", 13: "<u4",
          14: "<i8", 15: "<u8"}  # fmt: skip
"""What they are in MATLAB, by the number of the class."""
_COMPLEX = 0x08
_BEGIN = 4096
"""Bytes of a compressed matrix that surely hold its name."""


class Unreadable(ValueError):
    """What is wrong with a file."""


def read_matrices(content: bytes, wanted: Collection[str], most_bytes: int) -> dict[str, Array]:
    """The matrices with these names, as far as they are there.

    Args:
        content: of the whole file.
        wanted: other matrices are not unpacked.
        most_bytes: of one matrix; nothing larger is made.

    Raises:
        Unreadable: it is no such file, ends early, or a matrix is not what it says it is.
    """
    if len(content) < _HEADER or content[124:128] != b"\x00\x01IM":
        raise Unreadable("it is no MATLAB file of version 5 to 7.2")
    found = {}
    for kind, body in _elements(memoryview(content)[_HEADER:]):
        plain = body if kind == _MATRIX else None
        if kind == _COMPRESSED:
            plain = _unpacked(body, wanted, most_bytes)
        if plain is not None and (named := _matrix(plain, wanted)):
            found[named[0]] = named[1]
    return found


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element; all but compressed ones are filled up to 8 bytes."""
    at = 0
    while at < len(data):
        kind, size, start = _tag(data, at)
        if start + size > len(data):
            raise Unreadable("it is truncated")
        yield kind, data[start : start + size]
        end = start + size
        at = end if kind == _COMPRESSED else max(-(-end // 8) * 8, at + 8)


def _tag(data: memoryview, at: int) -> tuple[int, int, int]:
    """Type, bytes and place of the content; up to four bytes lie within the tag itself."""
    if at + 8 > len(data):
        raise Unreadable("it is truncated")
    first, second = struct.unpack_from("<II", data, at)
    if first >> 16:
        if first >> 16 > 4:
            raise Unreadable("an element is larger than its place")
        return first & 0xFFFF, first >> 16, at + 4
    return first, second, at + 8


def _unpacked(body: memoryview, wanted: Collection[str], most_bytes: int) -> memoryview | None:
    """The content of a compressed matrix, None if another name than wanted stands in it."""
    stream = zlib.decompressobj()
    try:
        begin = stream.decompress(body, _BEGIN)
        kind, size, start = _tag(memoryview(begin), 0)
        if kind != _MATRIX:
            return None
        if size > most_bytes:
            raise Unreadable(f"a matrix takes {size / 2**30:,.1f} GiB")
        if size > _BEGIN and _head(memoryview(begin)[start:])[2] not in wanted:
            return None
        rest = stream.decompress(stream.unconsumed_tail, max(size + start - len(begin), 1))
    except zlib.error:
        raise Unreadable("a compressed matrix is damaged") from None
    whole = memoryview(begin + rest)[start : start + size]
    if len(whole) < size:
        raise Unreadable("a compressed matrix is truncated")
    return whole


def _head(body: memoryview) -> tuple[int, tuple[int, ...], str, int]:
    """Flags with the class, sizes and name of a matrix, and where its numbers begin."""
    parts, at = [], 0
    for _ in range(3):
        kind, size, start = _tag(body, at)
        if start + size > len(body):
            raise Unreadable("a matrix is truncated")
        parts.append((kind, bytes(body[start : start + size])))
        at = -(-(start + size) // 8) * 8
    (_, flags), (kind, sizes), (_, name) = parts
    if len(flags) != 8 or kind != 5 or len(sizes) % 4 or not 8 <= len(sizes) <= 128:
        raise Unreadable("a matrix has no sizes")
    shape = struct.unpack(f"<{len(sizes) // 4}i", sizes)
    if min(shape) < 0:
        raise Unreadable("a matrix has a size below 0")
    return struct.unpack("<II", flags)[0], shape, name.decode("ascii", "replace"), at


def _matrix(body: memoryview, wanted: Collection[str]) -> tuple[str, Array] | None:
    flags, shape, name, at = _head(body)
    if name not in wanted:
        return None
    meant = _MEANT.get(flags & 0xFF)
    if meant is None or (flags >> 8) & _COMPLEX:
        raise Unreadable(f"{name} is no matrix of real numbers")
    kind, size, start = _tag(body, at)
    stored = np.dtype(_STORED.get(kind, "V1"))
    if stored.kind == "V" or math.prod(shape) * stored.itemsize != size or start + size > len(body):
        raise Unreadable(f"{name} of the sizes {'x'.join(map(str, shape))} has {size:,} bytes")
    numbers = np.frombuffer(body[start : start + size], stored)
    return name, numbers.astype(meant, copy=False).reshape(shape, order="F")
