"""A run has the doubts that concern it, and what its recipe did not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import catalog
from engine.flags import ABOUT_GRADIENTS, ABOUT_SEARCH, VIEWS, Flag, doubted, relevant
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.pipeline.statistics_stage import step_flags
from engine.store import Writer
from tests.helpers.studies import small_study


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def _flags(*ids: str, level: Any = "warning") -> list[Flag]:
    return [Flag(id_, level, f"The text of {id_}.") for id_ in ids]


ALL = _flags(*sorted(ABOUT_SEARCH | VIEWS), "near-chance", "random-output", "unchanged")


def _ids(flags: list[Flag]) -> set[str]:
    return {flag.id for flag in flags}


def test_a_gradient_attack_that_left_images_has_every_doubt() -> None:
    assert relevant(ALL, follows_gradient=True, held=True) == ALL


def test_where_nothing_held_no_stronger_search_is_missed() -> None:
    told = _ids(relevant(ALL, follows_gradient=True, held=False))
    assert told == {"near-chance", "random-output", "unchanged"} | VIEWS


def test_an_attack_without_gradients_does_not_care_how_they_are() -> None:
    told = _ids(relevant(ALL, follows_gradient=False, held=True))
    assert told == _ids(ALL) - ABOUT_GRADIENTS - VIEWS
    assert "no-transfer-check" in told


def test_a_note_is_no_doubt() -> None:
    assert doubted(_flags("zero-gradient"))
    assert not doubted(_flags("zero-gradient", level="info"))
    assert not doubted(_flags("near-chance", "random-output"))


def _step(*flags: Flag) -> dict[str, Any]:
    return {"step": "magnitude 99%", "flags": [flag.to_dict() for flag in flags]}


def test_what_a_step_did_not_do_is_told_with_its_name() -> None:
    (flag,) = step_flags([_step(*_flags("unchanged")), _step()], [])
    assert (flag.id, flag.level) == ("unchanged", "warning")
    assert flag.text == "Step 1, magnitude 99%: The text of unchanged."


def test_a_ruin_that_was_mended_is_a_warning_and_not_told_of_the_whole() -> None:
    ruined = _flags("near-chance", level="danger")
    (flag,) = step_flags([_step(*ruined), _step()], [])
    assert flag.level == "warning"
    assert "starts from a ruin" in flag.text


def test_what_the_gate_says_is_not_repeated() -> None:
    ruined = _flags("near-chance", level="danger")
    assert step_flags([_step(*ruined)], ruined) == []
    assert step_flags([_step(*_flags(*ABOUT_GRADIENTS))], []) == []
    assert step_flags([{"step": "of an older version"}], []) == []


def test_a_recipe_that_did_nothing_reaches_the_table(store: Writer) -> None:
    study = small_study(compression=[{"name": "magnitude", "sparsity": 0.0}])
    runner.run(study, store, lambda _: None, options=Options("cpu"))
    base, pruned = store.results()
    assert "unchanged" not in {flag["id"] for flag in base["flags"]}
    assert "unchanged" in {flag["id"] for flag in pruned["flags"]}
    checks = store.run(base["run_id"])["checks"]
    assert store.stage(checks["gate"])
    assert checks["traits"] == sorted(catalog.find("attacks", "pgd").traits)
