"""Variants beside each other: who stands beside whom, and the tests against scipy and by hand."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.errors import SpecError
from engine.report import differences as module
from engine.report.differences import beside, differences, every_pair, references
from engine.report.identity import variant_key
from engine.store import ResultRow, Store
from tests.helpers.filled_store import STUDY, fill

TWO_MODELS = {**STUDY, "model": [{"name": "digits-resnet"}, {"name": "digits-resnet-at"}]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ResultRow]:
    """Two models, three variants of each under two attacks."""
    path: Path = tmp_path_factory.mktemp("lab") / "lab.db"
    fill(path, TWO_MODELS)
    with Store(path, readonly=True) as store:
        return store.with_specs(store.results())


def one(rows: list[ResultRow], model: str, compression: str, attack: str) -> ResultRow:
    wanted = (model, compression, attack)
    return next(
        row
        for row in rows
        if (row["model"], row["compression"], row["attack"].split()[0]) == wanted
    )


def verdicts(run_id: int, n: int = 120) -> list[Any]:
    """Random ones, and other images for run 5."""
    broken = np.random.default_rng(run_id).random(n) < 0.1 + 0.05 * run_id
    return [{"index": i + (run_id == 5), "broken": bool(b)} for i, b in enumerate(broken)]


def test_without_a_choice_each_stands_beside_its_own_model(rows: list[ResultRow]) -> None:
    pairs = beside(rows)
    assert len(pairs) == 8
    for row, base in pairs:
        assert (row["model"], row["attack"]) == (base["model"], base["attack"])
        assert base["compression"] == "none" != row["compression"]


def test_a_baseline_of_ones_choice_stands_beside_variants_of_every_model(
    rows: list[ResultRow],
) -> None:
    chosen = one(rows, "digits-resnet-at", "ptq w2", "pgd-4")
    key = variant_key(chosen)
    pairs = beside(rows, lambda row: variant_key(row) == key)
    assert len(pairs) == 10  # five other variants, two attacks
    assert {base["run_id"] for row, base in pairs if row["attack"] == chosen["attack"]} == {
        chosen["run_id"]
    }
    assert all(base["attack"] == row["attack"] for row, base in pairs)
    assert chosen["run_id"] not in references(rows, rows, lambda row: variant_key(row) == key)


def test_runs_on_other_images_or_of_other_parameters_are_no_pair(rows: list[ResultRow]) -> None:
    first, second = (one(rows, "digits-resnet", name, "fgsm") for name in ("none", "ptq w2"))
    assert every_pair([first, second]) == [(second, first)]
    for changed in ({"seed": 9}, {"n": 19}, {"dataset": "mnist"}):
        assert every_pair([first, {**second, **changed}]) == []  # type: ignore[typeddict-item]
    attack = second["spec"]["attack"]
    other = {**second["spec"], "attack": {**attack, "params": {"eps": 0.2}}}
    assert every_pair([first, {**second, "spec": other}]) == []
    assert every_pair([first, first]) == []  # the same variant twice


def test_studies_share_images(rows: list[ResultRow]) -> None:
    first, second = (one(rows, "digits-resnet", name, "fgsm") for name in ("none", "ptq w2"))
    elsewhere: ResultRow = {**second, "study": "another"}
    assert beside([elsewhere], None, [first]) == [(elsewhere, first)]


def test_every_pair_is_tested_as_one_family(rows: list[ResultRow]) -> None:
    """By scipy's binomial test, and Holm by its definition: reject one after the other."""
    found = differences(every_pair(rows), verdicts)
    tested = [row for row in rows if row["run_id"] != 5]
    expected = [
        {later["run_id"], earlier["run_id"]}
        for earlier, later in itertools.combinations(tested, 2)
        if earlier["attack"] == later["attack"]
    ]
    assert sorted(map(sorted, expected)) == sorted(
        sorted((each.row["run_id"], each.base["run_id"])) for each in found
    )
    raw = []
    for each in found:
        mine, other = (
            np.array([one["broken"] for one in verdicts(row["run_id"])])
            for row in (each.row, each.base)
        )
        alone, there = int((mine & ~other).sum()), int((other & ~mine).sum())
        assert (each.found.only_a, each.found.only_b) == (alone, there)
        assert each.found.difference == pytest.approx(other.mean() - mine.mean())
        raw.append(stats.binomtest(alone, alone + there).pvalue if alone + there else 1.0)
    assert [each.found.p_value for each in found] == pytest.approx(raw)
    for level in (0.001, 0.01, 0.05, 0.2):
        ordered = sorted(range(len(raw)), key=raw.__getitem__)
        rejected = set()
        for step, place in enumerate(ordered):
            if raw[place] > level / (len(raw) - step):
                break
            rejected.add(place)
        assert rejected == {place for place, each in enumerate(found) if each.adjusted <= level}


def test_without_a_share_of_images_there_is_nothing_to_test(rows: list[ResultRow]) -> None:
    first, second = (one(rows, "digits-resnet", name, "fgsm") for name in ("none", "ptq w2"))
    unlimited: ResultRow = {**second, "robust_accuracy": None}
    assert differences([(unlimited, first), (first, unlimited)], verdicts) == []


def test_too_many_pairs_are_refused_before_any_is_made(
    rows: list[ResultRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 29)
    with pytest.raises(SpecError, match="30 pairs of runs, but at most 29"):
        every_pair(rows)
