"""Pickles that would overflow the stack of C or the memory are refused before they are built."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.unpickle import read_table
from engine.errors import CrumpleError
from engine.importing.read import read
from engine.safe_files.pickle_walk import DEEPEST, BadPickle, walk


def deep(times: int, memo: bool = False) -> bytes:
    """A dict with tuples in tuples as its key; hashing them goes down as deep."""
    step = b"\x85q\x01h\x01" if memo else b"\x85"
    pops = b"0" * times if memo else b""
    return b"\x80\x02}" + b")" + step * times + pops + b"K\x01s."


MANY_NOTES = b"\x80\x02}r" + (2**32 - 1).to_bytes(4, "little") + b"."
BAD = {"deep": deep(2_000_000), "deep, by notes": deep(5000, True), "many notes": MANY_NOTES}


def walked(content: bytes) -> int:
    return sum(1 for _ in walk(io.BytesIO(content), len(content)))


@pytest.mark.parametrize("case", BAD)
def test_pictures(case: str, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(BAD[case])
    with pytest.raises(CrumpleError, match=r"nested more than 100 deep|notes a value under"):
        read_table(tmp_path / "batch")


@pytest.mark.parametrize("case", BAD)
def test_checkpoints(case: str, tmp_path: Path) -> None:
    file, path = io.BytesIO(), tmp_path / "m.pt"
    torch.save({"a": torch.zeros(2, 2)}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for one in old.infolist():
            bad = one.filename.endswith("data.pkl")
            new.writestr(one.filename, BAD[case] if bad else old.read(one.filename))
    with pytest.raises(CrumpleError, match=r"nested more than 100 deep|notes a value under"):
        read(path)


VALUES: Any = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5), st.floats(), st.none(), st.binary(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(VALUES, st.integers(0, 5))
def test_what_python_writes_passes(value: object, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    rest = io.BytesIO(content + b"more")
    assert walked(content) > 1
    assert list(walk(rest, len(content)))[-1][0] == "STOP"
    assert rest.read() == b"more"


@pytest.mark.parametrize("kind", [list, tuple, lambda one: {"a": one[0]}])
def test_the_bound_is_a_bound(kind: Any) -> None:
    value: Any = 1
    for _ in range(DEEPEST - 5):
        value = kind([value])
    assert walked(pickle.dumps(value, 2)) > DEEPEST
    for _ in range(10):
        value = kind([value])
    with pytest.raises(BadPickle, match="nested more than"):
        walked(pickle.dumps(value, 2))
