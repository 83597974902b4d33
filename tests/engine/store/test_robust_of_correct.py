"""Robust accuracy over the images that were right before the attack, recounted image by image."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from scipy import stats

from engine.report.tables import of_correct, perturbation, results_text
from engine.store import ResultRow, Store
from tests.helpers.fake_results import fill


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("lab") / "lab.db"
    fill(path)
    return Store(path, readonly=True)


@pytest.fixture(scope="module")
def rows(store: Store) -> list[ResultRow]:
    return store.results()


def test_it_is_the_share_of_the_images_that_were_right(store: Store, rows: list[ResultRow]) -> None:
    lines = csv.DictReader(io.StringIO(results_text(rows, "csv")))
    clean_mistakes = 0
    for row, line in zip(rows, lines, strict=True):
        if row["status"] != "finished":
            assert row["robust_of_correct"] is None
            assert line["robust_of_correct"] == of_correct(row) == ""
            continue
        samples = store.samples(row["run_id"])
        right = [one for one in samples if one["clean_prediction"] == one["label"]]
        clean_mistakes += len(samples) - len(right)
        holds = sum(not one["broken"] for one in right)
        assert row["robust_of_correct"] == pytest.approx(holds / len(right))
        assert float(line["robust_of_correct"]) == row["robust_of_correct"]
        found = stats.binomtest(holds, len(right)).proportion_ci(method="wilson")
        low, high = 100 * found.low, 100 * found.high
        assert of_correct(row) == f"{100 * holds / len(right):.1f} [{low:.1f}, {high:.1f}]"
    assert clean_mistakes > 10


def test_of_nothing_there_is_no_share(rows: list[ResultRow], store: Store) -> None:
    run_id = next(row["run_id"] for row in rows if row["status"] == "finished")
    with Store(store.path) as changed:
        for clean, share in ((0.0, None), (1e-9, 1.0)):
            changed.db.execute(
                "UPDATE runs SET clean_accuracy = ?, robust_accuracy = ?, seal = NULL WHERE id = ?",
                (clean, clean, run_id),
            )
            row = changed.result(run_id)
            assert row["robust_of_correct"] == share


def test_tables_for_reading_have_it_and_perturbation_and_parameters(
    rows: list[ResultRow],
) -> None:
    (row,) = [one for one in rows if one["run_id"] == 3]
    told = results_text([{**row, "parameters": 77_754, "norm": "L2"}], "markdown")
    cells = dict(
        zip(
            *[[cell.strip() for cell in told.splitlines()[n].split("|")] for n in (0, 2)],
            strict=True,
        )
    )
    assert cells["of correct % [95 %]"] == of_correct(row)
    assert cells["parameters"] == "77,754"
    assert cells["perturbation"] == f"{row['avg_perturbation_l2']:.3g} L2"
    assert perturbation(row) == f"{row['avg_perturbation_linf']:.3g} Linf"
    assert perturbation({**row, "norm": "L1"}) == ""
