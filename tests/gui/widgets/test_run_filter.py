"""The filter line means what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import Store
from engine.store.run_changes import read_changes
from engine.store.run_table import RunTable
from gui.widgets.run_filter import FilterError, parse
from tests.helpers.fake_results import fill
from tests.helpers.run_tables import table_of

PGD = ("pgd-40 8/255", "pgd", 40)
L2 = ("pgd-l2 0.5", "pgd-l2", 40)
FGSM = ("fgsm 8/255", "fgsm", None)
PRUNED = {"name": "magnitude", "label": "magnitude 90%"}
ROUNDED = {"name": "ptq", "label": "ptq w4"}
MASKED = {"id": "masking", "level": "danger", "text": ""}
STEPS = {
    "none": [],
    "magnitude 90%": [PRUNED],
    "magnitude 90% + ptq w4": [PRUNED, ROUNDED],
    "ptq w4": [ROUNDED],
}
ROWS: list[dict[str, Any]] = [
    {
        "run_id": number,
        "study": "Digits",
        "dataset": "digits",
        "model": model,
        "compression": compression,
        "recipe": [{**step, "brief": step["label"]} for step in STEPS[compression]],
        "attack": attack,
        "attack_id": id_,
        "steps": steps,
        "norm": "Linf",
        "status": status,
        "tags": tags,
        "note": "",
        "flags": flags,
        "eps": eps,
        "robust_accuracy": robust,
        "clean_accuracy": 0.9,
    }
    for number, model, compression, (attack, id_, steps), status, tags, flags, eps, robust in (
        (1, "resnet", "none", PGD, "finished", "paper, table 2", [], 8 / 255, 0.63),
        (2, "resnet-at", "magnitude 90%", PGD, "finished", "", [], 8 / 255, 0.3),
        (3, "resnet-at", "magnitude 90% + ptq w4", L2, "failed", "", [], 0.5, None),
        (4, "resnet-at", "ptq w4", FGSM, "finished", "", [MASKED], 8 / 255, 0.05),
    )
]


TABLE = table_of(ROWS)


def passed(text: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The ids of the rows that a filter lets through."""
    table = table_of(rows)
    shown: list[int] = table.ids[parse(text).mask(table)].tolist()
    return shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("attack=pgd", [1, 2]),
        ("attack=pgd-40", [1, 2]),
        ('attack="pgd-l2 0.5"', [3]),
        ("model=resnet", [1]),
        ("model:resnet", [1, 2, 3, 4]),
        ("MODEL=ResNet-AT", [2, 3, 4]),
        ("compression=ptq", [3, 4]),
        ('compression="ptq w4"', [3, 4]),
        ("compression!=none", [2, 3, 4]),
        ("robust>30", [1]),
        ("robust>=30", [1, 2]),
        ("robust<30%", [4]),
        ("eps=8/255", [1, 2, 4]),
        ("status=finished robust<50 model=resnet-at", [2, 4]),
        ("tags=paper", [1]),
        ('tags="table 2"', [1]),
        ("tags=table", []),
        ("flags=masking", [4]),
        ("masking", [4]),
        ("90%", [2, 3]),
        ("id=3", [3]),
        ('"w4 fgsm"', []),
    ],
)
def test_a_filter_keeps_the_rows_it_describes(text: str, expected: list[int]) -> None:
    assert passed(text, ROWS) == expected


def test_a_name_is_never_taken_apart() -> None:
    """A method whose label has the parts of others is found by its own id alone."""
    step = {"name": "mine", "label": "ptq w4 + magnitude 90%", "brief": "mine"}
    row = {**ROWS[0], "compression": step["label"], "recipe": [step]}
    row |= {"attack": "pgd-40 of mine", "attack_id": "mine", "steps": 3}
    for text in ("compression=ptq", "compression=magnitude", "attack=pgd", "attack=pgd-40"):
        assert not passed(text, [row]), text
    for text in ("compression=mine", 'compression="ptq w4 + magnitude 90%"', "attack=mine-3"):
        assert passed(text, [row]), text


@given(st.floats(0, 100, allow_nan=False), st.sampled_from(["<", "<=", ">", ">="]))
def test_shares_are_compared_in_percent(limit: float, op: str) -> None:
    limit = round(limit, 3)
    accepted = set(passed(f"robust{op}{limit}", ROWS))

    known = {row["run_id"]: round(100 * row["robust_accuracy"], 6) for row in ROWS[:2] + ROWS[3:]}
    tests = {"<": float.__lt__, "<=": float.__le__, ">": float.__gt__, ">=": float.__ge__}
    assert accepted == {number for number, share in known.items() if tests[op](share, limit)}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("bogus=3", "bogus"),
        ("robust>many", "many"),
        ("robust>", "not a number"),
        ("model<3", "text"),
        ("robust:3", "numbers"),
    ],
)
def test_what_cannot_be_understood_is_named(text: str, word: str) -> None:
    with pytest.raises(FilterError, match=word):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_filter_or_refused_in_words(text: str) -> None:
    try:
        run_filter = parse(text)
    except FilterError:
        return
    assert run_filter.mask(TABLE).shape == (len(ROWS),)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", lambda row: True),
        ("pgd", lambda row: row["attack_id"] == "pgd"),
        ("attack!=pgd-20", lambda row: row["attack_id"] != "pgd"),
        ("attack=pgd-20", lambda row: (row["attack_id"], row["steps"]) == ("pgd", 20)),
        ("compression=magnitude", lambda row: "magnitude" in row["compression"]),
        ("robust>30", lambda row: (row["robust_accuracy"] or 0) > 0.3),
        ("robust!=12", lambda row: row["robust_accuracy"] not in (0.12, None)),
        ("eps=0.15", lambda row: row["eps"] == 0.15),
        ("flags=stronger-attack", lambda row: "stronger-attack" in ids(row)),
        ("flags:mask", lambda row: any("mask" in id_ for id_ in ids(row))),
        ("tags=paper", lambda row: row["run_id"] in (2, 3)),
        ("status!=finished id<=15", lambda row: row["status"] != "finished" and row["run_id"] < 16),
    ],
)
def test_stored_runs_pass_for_what_they_are(
    tmp_path: Path, text: str, holds: Callable[[Any], bool]
) -> None:
    results = fill(tmp_path / "results.db")
    with Store(results.path) as store:
        store.tag({2: "paper, x", 3: "Paper"})
        table = RunTable()
        for part in read_changes(store.db, None):
            table.apply(part)
        stored = store.results()
    shown = table.ids[parse(text).mask(table)].tolist()
    assert shown == [row["run_id"] for row in stored if holds(row)]


def ids(row: Any) -> list[str]:
    return [flag["id"] for flag in row["flags"]]


def test_a_table_without_runs_can_be_filtered() -> None:
    assert parse("pgd robust>3 tags=x").mask(RunTable()).tolist() == []
