"""Repeats beside each other: whose base is whose, and that a second attack is no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from engine.errors import CrumpleError
from engine.report.differences import beside, every_pair, references
from engine.report.figures import KINDS, chart_details, draw_chart
from engine.report.identity import context_key, first_attacks, names, variant_key
from engine.report.security import needed, panels
from engine.store import ResultRow, Store
from tests.helpers.filled_store import fill

STUDY: dict[str, Any] = {
    "name": "Repeated",
    "seeds": [0, 1],
    "dataset": {"name": "digits", "limit": 20},
    "model": [{"name": "digits-resnet"}],
    "compression": [{"name": "finetune", "epochs": 1}, {"name": "finetune", "epochs": 2}],
    "attack": [{"name": "pgd", "eps": 0.15, "steps": 4}],
}
SECOND = {7, 8, 9, 10}
"""Runs 1 to 3 are those of seed 0, 4 to 6 those of seed 1, the rest second attacks on both."""


def stored(path: Path, tables: dict[str, Any]) -> list[ResultRow]:
    fill(path, tables)
    with Store(path, readonly=True) as store:
        return store.with_specs(store.results())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ResultRow]:
    return stored(tmp_path_factory.mktemp("lab") / "lab.db", STUDY)


def ids(found: list[ResultRow]) -> set[int]:
    return {row["run_id"] for row in found}


def test_a_repeat_has_no_base_in_a_study_of_its_seed_on_other_images(
    rows: list[ResultRow], tmp_path: Path
) -> None:
    alone = {**{name: value for name, value in STUDY.items() if name != "seeds"}, "seed": 1}
    told = stored(tmp_path / "other.db", {**alone, "name": "Other"})
    others = [cast(ResultRow, {**row, "run_id": row["run_id"] + 100}) for row in told]
    for order in ([*rows, *others], [*others, *rows]):
        assert {(row["run_id"], base["run_id"]) for row, base in beside(order)} == {
            (2, 1), (3, 1), (5, 4), (6, 4), (102, 101), (103, 101),
        }  # fmt: skip
        assert all((a["run_id"] > 100) == (b["run_id"] > 100) for a, b in every_pair(order))
    same = [cast(ResultRow, {**row, "study": ""}) for row in (rows[3], others[0])]
    assert len(set(names(same, context_key, lambda row: "base").values())) == 2
    assert "images of seed=0" in names(same, context_key, lambda row: "base")[context_key(same[0])]


def test_second_attacks_are_paired_with_nothing(rows: list[ResultRow]) -> None:
    assert ids(rows) - ids(first_attacks(rows)) == SECOND
    key = variant_key(rows[1])
    for pairs in (every_pair(rows), beside(rows), beside(rows, lambda r: variant_key(r) == key)):
        assert pairs
        assert not {row["run_id"] for pair in pairs for row in pair} & SECOND
    assert len(every_pair(rows)) == 2 * 3
    # A second attack that came later takes no place of the first.
    found = references(rows, rows, lambda row: variant_key(row) == key)
    assert {base["run_id"] for base in found.values()} == {2, 5}


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"transfer", "security"}))
def test_no_chart_draws_them(kind: str, rows: list[ResultRow], tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    fill(path, STUDY)
    with Store(path, readonly=True) as store:
        if kind == "categories":
            assert not {*chart_details(kind, rows, store)} & SECOND
            return
        details = chart_details(kind, rows, store)
    drawn = [_texts(draw_chart(kind, some, details)) for some in (rows, first_attacks(rows))]
    assert drawn[0] == drawn[1]
    with pytest.raises(CrumpleError, match="second attacks only tell") as refused:
        draw_chart(kind, [row for row in rows if row["run_id"] in SECOND], details)
    assert refused.value.hint


def _texts(figure: Any) -> list[str]:
    return [one.get_text() for one in figure.findobj(lambda item: hasattr(item, "get_text"))]


def test_no_security_curve_is_drawn_of_or_checked_by_them(rows: list[ResultRow]) -> None:
    far = [cast(ResultRow, {**row, "eps": None, "norm": "L2"}) for row in rows]
    assert not set(needed(far)) & SECOND
    sample = [{"index": i, "broken": True, "l2": 0.5, "linf": 0.1} for i in range(20)]
    samples: Any = {row["run_id"]: sample for row in rows}
    assert not {row["run_id"] for panel in panels(far, samples) for row in panel.rows()} & SECOND
