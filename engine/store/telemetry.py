"""Telemetry of a batch as it is stored: a column per figure, compressed.

A point names eleven figures, so that as JSON most of it is names. Here a column of whole numbers
is kept as differences and one of floats as doubles, both byte plane by byte plane, which zlib
packs well; what is neither stays JSON. zlib's checksum notices bytes that changed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import StoreError
from engine.store.columns import Payload

LIMIT = 64 * 2**20
"""Bytes that telemetry of one batch takes at most before it is compressed."""

_SIZE = 8
_USUAL = (
    b'{"all": [{"points": 51, "columns": {"step": "int", '
    b'"total": "int", "broken": "int", "active": "int", "loss": "float", "margin": "float", '
    b'"step_size": "float", "forwards": "int", "backwards": "int", "seconds": "micro", '
    b'"part": "json"}, "values": {"part": ["", "", "", "", "", "", "", ""]}}\n'
)
"""What compression takes for known. Never to be changed: what was stored needs it to be read."""

_MICRO = 1_000_000
_LONGEST = 1e9
_NUMBERS = ("loss", "margin")


def packed(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Points as the database keeps them: all that they say, ``seconds`` to the microsecond.

    Args:
        points: an ``attacks.StepPoint`` per step, as JSON.
    """
    names = list(points[0]) if points else []
    if any(list(point) != names for point in points):
        return _deflated({"all": list(points)}, ())
    columns = {name: _column(name, [point[name] for point in points]) for name in names}
    head = {
        "points": len(points),
        "columns": {name: kind for name, (kind, _) in columns.items()},
        "values": {name: values for name, (kind, values) in columns.items() if kind == "json"},
    }
    return _deflated(head, [_planes(part) for kind, part in columns.values() if kind != "json"])


def _deflated(head: Payload, planes: Iterable[bytes]) -> bytes:
    stream = zlib.compressobj(zdict=_USUAL)
    content = json.dumps(head).encode() + b"\n" + b"".join(planes)
    return stream.compress(content) + stream.flush()


def _column(name: str, values: list[Any]) -> tuple[str, Any]:
    """How a column is kept, and what is kept of it."""
    kinds = set(map(type, values))
    if kinds == {int} and all(-(2**63) <= bound < 2**63 for bound in (min(values), max(values))):
        return "int", _steps(np.array(values, "<i8"))
    if kinds <= {float, type(None)}:
        floats = np.array(values, "<f8")  # None becomes NaN
        if np.isnan(floats).sum() != values.count(None):
            return "json", values
        if name == "seconds" and len(kinds) == 1 and np.abs(floats).max() < _LONGEST:
            return "micro", _steps(np.rint(floats * _MICRO).astype("<i8"))
        return "float", floats
    return "json", values


def _steps(whole: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(whole, prepend=whole.dtype.type(0))


def _planes(values: NDArray[Any]) -> bytes:
    return values.view(np.uint8).reshape(-1, _SIZE).T.tobytes()


_FAULTS = (zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class Damaged(ValueError):
    """What is stored is no telemetry."""


def unpacked(stored: bytes | str) -> list[Payload]:
    """The points that were ``packed``; text is JSON, as earlier versions stored it.

    Raises:
        Damaged: it is no telemetry.
    """
    try:
        points = json.loads(stored) if isinstance(stored, str) else _points(_inflated(stored))
    except _FAULTS as error:
        raise Damaged(str(error)) from None
    if not isinstance(points, list) or not all(map(_is_point, points)):
        raise Damaged("no points")
    return points


def _inflated(stored: bytes) -> bytes:
    stream = zlib.decompressobj(zdict=_USUAL)
    content = stream.decompress(stored, LIMIT)
    if not stream.eof or stream.unused_data:
        raise ValueError("cut, too long or followed by something")
    return content


def _points(content: bytes) -> Any:
    line, _, rest = content.partition(b"\n")
    head = json.loads(line)
    if "all" in head:
        return head["all"]
    columns: list[list[Any]] = []
    count = int(head["points"])
    for name, kind in head["columns"].items():
        if kind == "json":
            columns.append(list(head["values"][name]))
            continue
        planes, rest = rest[: count * _SIZE], rest[count * _SIZE :]
        columns.append(_values(kind, planes))
    if count < 0 or rest or any(len(column) != count for column in columns):
        raise ValueError("columns of other lengths")
    names = list(head["columns"])
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(kind: str, planes: bytes) -> list[Any]:
    numbers = np.frombuffer(planes, np.uint8).reshape(_SIZE, -1).T.tobytes()
    if kind == "float":
        floats = np.frombuffer(numbers, "<f8").tolist()
        return [None if value != value else value for value in floats]
    whole: list[Any] = np.cumsum(np.frombuffer(numbers, "<i8")).tolist()
    return whole if kind == "int" else [value / _MICRO for value in whole]


def repacked(former: bytes) -> bytes:
    """Telemetry of an earlier version, JSON, as it is stored now; damaged, it stays what it is."""
    try:
        return packed(json.loads(former))
    except (ValueError, TypeError, LookupError, RecursionError):
        return former


def _is_point(point: Any) -> bool:
    """Whether curves can be made from it."""
    return (
        isinstance(point, dict)
        and all(isinstance(point.get(name), int) for name in ("step", "active"))
        and all(isinstance(point.get(name), float | int | None) for name in _NUMBERS)
    )


def read_telemetry(run_id: int, start: int, stored: bytes | str) -> list[Payload]:
    """The points of a stored batch.

    Raises:
        StoreError: they are damaged; the message names run and batch.
    """
    try:
        return unpacked(stored)
    except Damaged:
        raise StoreError(
            f"The telemetry of run {run_id}, batch from image {start}, is damaged.",
            "Restore the database from a copy, or mend it with: crumple check --repair.",
        ) from None
