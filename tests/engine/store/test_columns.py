"""The types of rows say what the database gives: column by column, kind by kind."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.store import (
    BatchRow,
    CurveRow,
    PaceRow,
    QueueRow,
    ResultRow,
    RunRow,
    SampleRow,
    StepPaceRow,
    Store,
    StudyRow,
    TransferRow,
    Writer,
)
from tests.helpers import kept_database


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with Writer(kept_database.restore(tmp_path_factory.mktemp("kept"))) as writer:
        yield writer


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of a type as it stands in a row."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.NotRequired:
        return fits(value, args[0])
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in args)
    if origin is typing.Literal:
        return value in args
    if origin is list:
        return isinstance(value, list) and all(fits(one, args[0]) for one in value)
    if kind is Any or typing.is_typeddict(kind):
        return kind is Any or (isinstance(value, dict) and not misfits(value, kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def misfits(row: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """The columns of a row that are not as its type says, missing and unknown ones included."""
    hints = typing.get_type_hints(kind, include_extras=True)
    optional = {name for name, one in hints.items() if typing.get_origin(one) is typing.NotRequired}
    missing = dict.fromkeys(hints.keys() - optional - row.keys(), "missing")
    unknown = {name: "unknown" for name in row.keys() - hints.keys()}
    wrong = {
        name: row[name] for name in hints.keys() & row.keys() if not fits(row[name], hints[name])
    }
    return {**missing, **unknown, **wrong}


def rows_of(store: Writer) -> dict[Any, list[Any]]:
    ids = [row["run_id"] for row in store.results()]
    return {
        ResultRow: [*store.results(), *store.results("Kept"), *store.with_specs(store.results())],
        RunRow: [store.run(run_id) for run_id in ids],
        QueueRow: store.queue(),
        SampleRow: [row for run_id in ids for row in store.samples(run_id)],
        CurveRow: [row for run_id in ids for row in store.curve(run_id)],
        BatchRow: [row for run_id in ids for row in store.batches(run_id)],
        TransferRow: store.transfers(),
        StudyRow: store.studies(),
        PaceRow: store.paces(),
        StepPaceRow: store.step_paces(),
    }


def test_every_row_is_as_its_type_says(store: Writer) -> None:
    for kind, rows in rows_of(store).items():
        assert rows, kind
        for row in rows:
            assert misfits(row, kind) == {}, kind.__name__


def test_a_run_that_waits_is_as_its_type_says(store: Writer) -> None:
    with store.db.atomic():
        store.db.execute("UPDATE runs SET status = 'waiting', environment_id = NULL WHERE id = 1")
        assert misfits(store.run(1), RunRow) == {}
        store.db.execute("UPDATE runs SET status = 'finished' WHERE id = 1")


def test_a_row_that_is_not_as_its_type_says_is_seen(store: Writer) -> None:
    row = store.results()[0]
    assert misfits({**row, "n": "12"}, ResultRow) == {"n": "12"}
    assert misfits({**row, "nn": 12}, ResultRow) == {"nn": "unknown"}
    assert misfits({**row, "recipe": [{"name": "x"}]}, ResultRow) == {"recipe": [{"name": "x"}]}
    assert misfits({k: v for k, v in row.items() if k != "eps"}, ResultRow) == {"eps": "missing"}
    assert misfits({**row, "status": "finnished"}, ResultRow) == {"status": "finnished"}


def test_a_database_of_before_that_is_only_read_gives_such_rows(tmp_path: Path) -> None:
    with Store(kept_database.restore(tmp_path), readonly=True) as old:
        for row in old.results():
            assert set(misfits(row, ResultRow)) <= {"attack_id"}
        for pair in old.transfers():
            assert misfits(pair, TransferRow) == {}
