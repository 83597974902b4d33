"""MATLAB files are read as scipy reads them, and damaged ones are refused in words."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from engine.data.matlab import Unreadable, read_matrices

MOST = 2**20
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def written(tables: dict[str, Any], packed: bool) -> bytes:
    file = io.BytesIO()
    savemat(file, tables, do_compression=packed)
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(32, 32, 3, 5), (1, 1), (7, 1), (0, 3), (1, 4)])
def test_as_scipy(packed: bool, dtype: str, shape: tuple[int, ...]) -> None:
    numbers = np.random.RandomState(0).randint(0, 100, shape).astype(dtype)
    content = written({"other": np.arange(5000), "X": numbers, "y": np.arange(3)[:, None]}, packed)
    found = read_matrices(content, ("X", "y"), MOST)
    expected = loadmat(io.BytesIO(content))
    assert sorted(found) == ["X", "y"]
    for name, one in found.items():
        assert one.dtype == expected[name].dtype
        assert one.shape == expected[name].shape
        assert np.array_equal(one, expected[name])


SOUND = [written({"X": np.zeros((32, 32, 3, 2), "u1"), "y": np.ones((2, 1), "u1")}, packed)
         for packed in (False, True)]  # fmt: skip


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(SOUND), st.data())
def test_damage_is_told_or_does_no_harm(content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, min(600, len(content) - 1)))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))
    try:
        found = read_matrices(bytes(changed[:cut]), ("X", "y"), MOST)
    except Unreadable:
        return
    assert all(one.nbytes <= MOST * 8 for one in found.values())


def element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def matrix(shape: tuple[int, ...], numbers: bytes, kind: int = 2, class_: int = 9) -> bytes:
    sizes = struct.pack(f"<{len(shape)}i", *shape)
    parts = (element(6, struct.pack("<II", class_, 0)), element(5, sizes), element(1, b"X"))
    return element(14, b"".join(parts) + element(kind, numbers))


HEADER = b" " * 124 + b"\0\x01IM"
BAD = {
    "version 4": (b"\0" * 300, "no MATLAB file of version 5 to 7.2"),
    "version 7.3": (b" " * 124 + b"\0\x02IM" + b"\x89HDF", "no MATLAB file of version 5 to 7.2"),
    "empty": (b"", "no MATLAB file"),
    "claims more": (HEADER + matrix((1000, 1000), b"abc"), "X of the sizes 1000x1000 has 3 bytes"),
    "huge": (HEADER + matrix((2**31 - 1,) * 4, b""), "has 0 bytes"),
    "below 0": (HEADER + matrix((-1, 4), b"abcd"), "a size below 0"),
    "too many sizes": (HEADER + matrix((1,) * 33, b"a"), "no sizes"),
    "a cell": (HEADER + matrix((1, 1), b"a", class_=1), "X is no matrix of real numbers"),
    "another type": (HEADER + matrix((1, 1), b"a", kind=99), "X of the sizes 1x1 has 1 bytes"),
    "cut off": (HEADER + matrix((4, 4), b"a" * 16)[:-20], "truncated"),
    "bad zlib": (HEADER + struct.pack("<II", 15, 4) + b"abcd", "compressed matrix is damaged"),
    "bomb": (HEADER + element(15, zlib.compress(matrix((2**13, 2**13), b"\0" * 2**26))),
             "a matrix takes 0.1 GiB"),
    "small element too large": (HEADER + struct.pack("<HHI", 2, 9, 0), "larger than its place"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said(case: str) -> None:
    content, message = BAD[case]
    with pytest.raises(Unreadable, match=message):
        read_matrices(content, ("X",), MOST)
