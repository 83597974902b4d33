"""Runs on defended variants: the naive attack stands beside, and what it hides is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.study import Study
from engine.store import RunRow, Writer
from engine.store.run_changes import read_changes
from engine.store.run_table import RunTable

EPS, IMAGES = 0.2, 60
"""In this ball the undefended network loses nearly all."""

STUDY: dict[str, Any] = {
    "name": "Defences",
    "dataset": {"name": "digits", "limit": IMAGES},
    "model": [{"name": "digits-resnet"}],
    "compression": [
        {"name": "jpeg"},
        {"name": "bit-depth", "depth": 3},
        {"steps": [{"name": "ptq", "bits": 4}, {"name": "jpeg"}]},
    ],
    "attack": [
        {"name": "pgd", "eps": EPS, "steps": 20},
        {"name": "square", "eps": EPS, "n_queries": 20},
    ],
}
SHATTERED = ("jpeg 75", "bit-depth 3", "ptq w4 + jpeg 75")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with Writer(tmp_path_factory.mktemp("naive") / "a.db") as made:
        summary = runner.run(
            Study.from_dict(STUDY), made, lambda _: None, options=Options(device="cpu")
        )
        assert summary.complete
        yield made


@pytest.fixture(scope="module")
def runs(store: Writer) -> dict[tuple[str, str], RunRow]:
    rows = [store.run(row["run_id"]) for row in store.results()]
    return {(row["compression"], row["attack_id"]): row for row in rows}


@pytest.mark.parametrize("variant", SHATTERED)
def test_shattered_gradients_defend_from_the_naive_attack_alone(
    variant: str, runs: dict[tuple[str, str], RunRow]
) -> None:
    row, undefended = runs[variant, "pgd"], runs["none", "pgd"]
    assert abs(row["robust_accuracy"] - undefended["robust_accuracy"]) <= 0.03 + 1 / IMAGES
    assert row["naive_accuracy"] > row["robust_accuracy"] + 0.5
    flags = {flag["id"]: flag for flag in row["flags"]}
    assert "straight-through-view" in flags
    assert "points are false robustness" in flags["false-robustness"]["text"]
    (check,) = [one for one in row["checks"]["made"] if one["id"] == "naive"]
    assert check["flags"] == ["false-robustness"]
    assert check["figure"].endswith(f"of {IMAGES} held")


def test_naive_numbers_are_those_of_the_images(runs: dict[tuple[str, str], RunRow]) -> None:
    row = runs["jpeg 75", "pgd"]
    (check,) = [one for one in row["checks"]["survivors"] if one["naive"]]
    held = round(row["robust_accuracy"] * IMAGES) - len(check["broken"]) + len(check["missed"])
    assert row["naive_accuracy"] == held / IMAGES
    assert check["images"] == IMAGES


def test_without_a_defence_or_a_gradient_there_is_no_naive_attack(
    runs: dict[tuple[str, str], RunRow],
) -> None:
    for key in (("none", "pgd"), ("none", "square"), ("jpeg 75", "square")):
        assert runs[key]["naive_accuracy"] is None
        assert "naive" not in {one["id"] for one in runs[key]["checks"]["made"]}


def test_lists_have_the_same_number(store: Writer, runs: dict[tuple[str, str], RunRow]) -> None:
    listed = {row["run_id"]: row["naive_accuracy"] for row in store.results()}
    assert listed == {row["run_id"]: row["naive_accuracy"] for row in runs.values()}
    table = RunTable()
    for changes in read_changes(store.db, None):
        table.apply(changes)
    found = {run_id: row for run_id in listed if (row := table.run(run_id))}
    assert {run_id: row["naive_accuracy"] for run_id, row in found.items()} == listed
