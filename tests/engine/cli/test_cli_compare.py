"""``crumple compare``: the pairs that were asked for, in every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from scipy import stats

from engine.cli.main import main
from engine.report.differences import COLUMNS
from engine.report.tables import RESULT_FORMATS
from tests.helpers.filled_store import STUDY, N, fill


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run k breaks the first 2 k of 20 images; odd ones by fgsm, even ones by pgd."""
    path = tmp_path_factory.mktemp("lab") / "lab.db"
    assert fill(path) == [1, 2, 3, 4, 5, 6]
    return path


def told(database: Path, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["compare", "--db", str(database), *arguments])
    assert done.exit_code == code, done.output
    return done.output


def rows(database: Path, *arguments: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(told(database, *arguments, "--format", "csv"))))


def pairs(found: list[dict[str, str]]) -> list[tuple[int, int]]:
    return [(int(row["run_id"]), int(row["base_run_id"])) for row in found]


def test_who_stands_beside_whom(database: Path) -> None:
    assert pairs(rows(database)) == [(3, 1), (4, 2), (5, 1), (6, 2)]
    assert pairs(rows(database, "--study", str(STUDY["name"]), "5")) == [(5, 1)]
    assert pairs(rows(database, "--beside", "3")) == [(1, 3), (2, 4), (5, 3), (6, 4)]
    assert pairs(rows(database, "6", "--beside", "3")) == [(6, 4)]
    assert pairs(rows(database, "3", "5")) == [(5, 3)]
    assert sorted(pairs(rows(database, "--pairs"))) == [
        (3, 1), (4, 2), (5, 1), (5, 3), (6, 2), (6, 4),
    ]  # fmt: skip


def test_two_methods_are_tested_image_by_image(database: Path) -> None:
    (row,) = rows(database, "3", "5")
    assert (row["compression"], row["base_compression"]) == ("ptq w2", "magnitude 50%")
    assert (int(row["n"]), int(row["only_variant_broken"]), row["only_base_broken"]) == (N, 4, "0")
    assert float(row["difference"]) == pytest.approx(-4 / N)
    p = stats.binomtest(0, 4).pvalue
    assert float(row["p_mcnemar"]) == float(row["p_holm"]) == pytest.approx(p)


def test_named_runs_that_stand_beside_nothing_are_named(database: Path) -> None:
    def aside(*arguments: str) -> str:
        return CliRunner().invoke(main, ["compare", "--db", str(database), *arguments]).stderr

    assert aside("3", "5") == aside("5") == aside() == aside("5", "1", "--beside", "1") == ""
    assert "beside nothing here: run 6." in aside("3", "5", "6")
    assert pairs(rows(database, "3", "5")) == [(5, 3)]


def test_seeds_are_told_where_there_are_several(tmp_path: Path) -> None:
    fill(tmp_path / "lab.db", {**STUDY, "seeds": [0, 1]})
    for format_ in ("table", "markdown", "latex"):
        assert " seed " in told(tmp_path / "lab.db", "--format", format_)
    found = rows(tmp_path / "lab.db")
    assert [row["seed"] for row in found] == ["0"] * 4 + ["1"] * 4
    assert [int(row["run_id"]) > 6 for row in found] == [row["seed"] == "1" for row in found]


def test_holm_is_over_what_is_printed(database: Path) -> None:
    alone, family = rows(database, "5"), rows(database)
    assert float(alone[0]["p_holm"]) == float(alone[0]["p_mcnemar"])
    (same,) = (row for row in family if row["run_id"] == "5")
    assert float(same["p_holm"]) == pytest.approx(4 * float(alone[0]["p_mcnemar"]))


def test_every_format_has_every_row(database: Path) -> None:
    assert [tuple(row) for row in json.loads(told(database, "--format", "json"))] == [COLUMNS] * 4
    for format_ in set(RESULT_FORMATS) - {"json", "csv"}:
        assert told(database, "--format", format_).count("-40.0 [-61.3, -17.4]") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["3", "4"], "No two of the runs 3, 4"),
        (["3", "94"], "There is no run 94"),
        (["--beside", "94"], "no finished run 94"),
        (["--beside", "3", "--pairs"], "not both"),
    ],
)
def test_what_cannot_be_compared_is_said(database: Path, arguments: list[str], words: str) -> None:
    assert words in told(database, *arguments, code=2)
