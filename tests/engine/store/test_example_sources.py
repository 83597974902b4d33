"""Whose examples a worst case begins with, and what finding and reading them touches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import StoreError
from engine.store import Writer
from engine.store.kept_images import batch_file
from engine.store.samples import MOST_SOURCES
from tests.helpers.judged_runs import breaks, finish

PGD = {"name": "pgd", "eps": 0.1}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def found(store: Writer, variant: str, data: str = "data", attack: str = "pgd") -> int:
    environment = {"data_fingerprint": data}
    given = {"name": attack, "eps": 0.1}
    distances = breaks(range(2), of=4)
    return finish(store, given, distances, variant=variant, data=data, environment=environment)


def joined(store: Writer, *runs: int) -> None:
    """All in the study of the first."""
    (study,) = next(store.db.tuples("SELECT study_id FROM study_runs WHERE run_id = ?", runs[:1]))
    for run in runs[1:]:
        store.db.execute("INSERT INTO study_runs VALUES (?, ?, ?)", (study, run, run))


def test_they_are_those_of_the_variant_and_of_its_study_on_the_same_images(store: Writer) -> None:
    mine, other, late = (found(store, name) for name in ("mine", "other", "late"))
    elsewhere, waiting = found(store, "elsewhere", "other images"), found(store, "waiting")
    joined(store, mine, other, late, elsewhere, waiting)
    store.set_status([waiting], "waiting", ("finished",))
    again, third = found(store, "mine", attack="fgsm"), found(store, "mine", "more images")
    stranger = found(store, "stranger")
    sources = store.example_sources(mine, "data")
    assert sources == [again, late, other]
    assert not {mine, elsewhere, waiting, third, stranger} & set(sources)
    # Other images to keep are another key of the same data.
    store.db.execute("UPDATE runs SET data_key = 'more kept' WHERE id = ?", (other,))
    assert store.example_sources(mine, "data") == sources
    assert store.example_sources(mine, "no such data") == [again, late]


def test_a_large_study_gives_the_nearest_of_its_runs(store: Writer) -> None:
    mine = found(store, "mine")
    others = [found(store, f"variant {number}") for number in range(MOST_SOURCES + 2)]
    joined(store, mine, *others)
    again = found(store, "mine", attack="fgsm")
    assert store.example_sources(mine, "data") == [again, *others[:-MOST_SOURCES:-1]]


def test_runs_of_other_studies_are_not_looked_at(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = found(store, "mine")
    asked: list[str] = []
    tuples = store.db.tuples
    monkeypatch.setattr(
        store.db, "tuples", lambda sql, given=(): asked.append(sql) or tuples(sql, given)
    )
    store.example_sources(mine, "data")
    (sql,) = asked
    plan = [row[3] for row in tuples(f"EXPLAIN QUERY PLAN {sql}", (mine, "data"))]
    of_runs = [step for step in plan if "runs" in step and "study_runs" not in step]
    assert of_runs
    assert all("SEARCH" in step and "status" not in step for step in of_runs)


def test_no_file_is_opened_where_nothing_was_broken(store: Writer) -> None:
    run = finish(store, PGD, breaks(range(10), of=40), clean_mistakes=3)
    places, examples = store.examples(run, 2, 8)
    assert places.tolist() == [3, 4, 5, 6, 7]
    assert examples.shape == (5, 1, 2, 2)
    file = store.artifacts / batch_file(run, 0)
    file.write_bytes(b"lost")
    with pytest.raises(StoreError, match="not what was written"):
        store.examples(run, 2, 8)
    # Where nothing was broken no file is opened.
    assert np.array_equal(store.examples(run, 20, 40)[0], [])
