"""Telemetry comes back as it was stored, and damaged telemetry is told, never taken."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.main import main
from engine.errors import StoreError
from engine.store import Store, Writer
from engine.store import telemetry as stored_as
from engine.store.telemetry import Damaged, packed, repacked, unpacked
from tests.benchmarks.large_store import points
from tests.helpers.filled_store import fill

_figures = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.none(), st.text(), st.booleans()
)
_points = st.lists(
    st.dictionaries(st.sampled_from(("loss", "margin", "x", "part")), _figures).map(
        lambda more: (
            {"step": 1, "active": 2, "loss": None, "margin": 0.5}
            | {k: v for k, v in more.items() if k in ("x", "part")}
        )
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(_points)
def test_what_was_packed_comes_back_in_value_and_kind(told: list[dict[str, Any]]) -> None:
    assert repr(unpacked(packed(told))) == repr(told)


def test_telemetry_of_an_attack_is_a_tenth_of_its_json_and_the_same() -> None:
    for seed in range(5):
        told = points(seed)
        back = unpacked(packed(told))
        for point, was in zip(back, told, strict=True):
            assert point == {**was, "seconds": pytest.approx(was["seconds"], abs=5e-7)}
            assert {**point, "seconds": 0} == {**was, "seconds": 0}
        assert len(packed(told)) * 9 < len(json.dumps(told))
        assert packed(back) == packed(told)


def test_telemetry_of_before_is_read_and_packed_alike() -> None:
    told = points(3)
    assert unpacked(json.dumps(told)) == told
    assert repacked(json.dumps(told).encode()) == packed(told)
    for damaged in (b'[{"step', b"\xff\xfe", b"[[1]]", b"3", b"[1]"):
        kept = repacked(damaged)
        with pytest.raises(Damaged):
            unpacked(kept)


def damages(rng: random.Random, whole: bytes) -> bytes:
    at = rng.randrange(len(whole))
    changed = bytes([whole[at] ^ 1 << rng.randrange(8)])
    return rng.choice(
        (
            whole[:at] + changed + whole[at + 1 :],
            whole[:at],
            whole + b"\0",
            whole[:at] + whole[at + 1 :],
            rng.randbytes(at),
        )
    )


def test_damaged_bytes_are_refused_and_nothing_else_happens() -> None:
    whole, rng = packed(points(0)), random.Random(0)
    for _ in range(500):
        with pytest.raises(Damaged):
            unpacked(damages(rng, whole))


def as_stored(content: bytes) -> bytes:
    stream = zlib.compressobj(zdict=stored_as._USUAL)
    return stream.compress(content) + stream.flush()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]\n",
        b'{"points": 1}\n',
        b"[" * 100_000 + b"\n",
        b'{"points": -1, "columns": {}, "values": {}}\n',
        b'{"points": 1000000000000, "columns": {"step": "int"}, "values": {}}\n' + bytes(8),
        b'{"points": 1, "columns": {"step": "int"}, "values": {}}\n' + bytes(7),
        b'{"points": 1, "columns": {"step": "odd"}, "values": {}}\n' + bytes(8),
        b'{"points": 1, "columns": {"step": "json"}, "values": {"step": "x"}}\n',
        b'{"all": [{"step": 1}]}\n',
        b'{"all": {"step": 1}}\n',
    ],
)
def test_content_that_is_no_telemetry_is_refused(content: bytes) -> None:
    with pytest.raises(Damaged):
        unpacked(as_stored(content))


def test_no_more_is_decompressed_than_telemetry_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_as, "LIMIT", 10_000)
    bomb = as_stored(b'{"all": [' + b" " * 20_000 + b"]}\n")
    with pytest.raises(Damaged, match="too long"):
        unpacked(bomb)


def test_the_run_and_the_batch_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    fill(path)
    with Writer(path) as store, store.db.atomic():
        store.db.execute("UPDATE batches SET telemetry = x'00' WHERE run_id = 2")
    with Store(path, readonly=True) as store:
        with pytest.raises(StoreError, match="telemetry of run 2, batch from image 0, is damaged"):
            store.curve(2)
        assert store.curve(1)
        assert len(store.samples(2)) == 20
        whole = {number: store.curve(number) for number in (1, 3)}
    told = CliRunner().invoke(main, ["check", "--db", str(path)])
    assert told.exit_code == 1
    assert "The telemetry of run 2, batch from image 0, is damaged." in told.output
    assert CliRunner().invoke(main, ["check", "--db", str(path), "--repair"]).exit_code == 0
    with Store(path, readonly=True) as store:
        assert [point["loss"] for point in store.curve(2)] == [None] * len(store.curve(2))
        assert {number: store.curve(number) for number in (1, 3)} == whole
