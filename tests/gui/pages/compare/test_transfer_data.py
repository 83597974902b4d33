"""The transfer matrix: of many attacks only the one in sight is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.store import ResultRow, Store
from gui.pages.compare.transfer_data import read_transfers
from tests.helpers import curve_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Two variants under three attacks; the last one has no pair."""
    path = tmp_path / "curves.db"
    ids = curve_store.fill(path)
    curve_store.add_transfers(path, [ids[0::3], ids[1::3]])
    with Store(path) as opened:
        yield opened


def rows_of(store: Store) -> list[ResultRow]:
    return store.with_specs(store.results())


def test_the_pairs_of_the_attack_in_sight_are_read_and_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[int]] = []
    given = Store.transfers

    def transfers(self: Store, study: str | None = None, *, among: Any = None) -> Any:
        read.append(sorted(among))
        return given(self, study, among=among)

    monkeypatch.setattr(Store, "transfers", transfers)
    found = read_transfers(store, rows_of(store), {}, "pgd-l2-40 0.5")
    assert read == [[2, 5]]
    assert found.matrix is not None
    assert found.matrix.title == "pgd-l2-40 0.5"
    assert set(found.matrix.cells) == {(a, b) for a in (2, 5) for b in (2, 5)}


def test_an_attack_without_a_pair_is_not_offered(store: Store) -> None:
    found = read_transfers(store, rows_of(store), {}, "pgd-l2-40 1")
    assert found.attacks == ["fmn-100 L2", "pgd-l2-40 0.5"]
    assert found.matrix is not None
    assert found.matrix.title == "fmn-100 L2", "the first, where that in question has none"
    assert found.flagged == {4}


def test_attacks_of_one_label_are_told_apart(store: Store) -> None:
    rows = [row for row in rows_of(store) if row["run_id"] in (1, 2, 4, 5)]
    alike = [{**row, "attack": "mine"} for row in rows]
    found = read_transfers(store, alike, {}, "")  # type: ignore[arg-type]
    assert len(set(found.attacks)) == 2


def test_without_a_pair_it_is_told_whether_there_could_be_one(store: Store) -> None:
    rows = {row["run_id"]: row for row in rows_of(store)}
    assert read_transfers(store, [rows[3], rows[6]], {}, "").several
    alone = read_transfers(store, [rows[3]], {}, "")
    assert (alone.several, alone.matrix) == (False, None)
