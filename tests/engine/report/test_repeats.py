"""Repeats over seeds in tables and in the report: each number by hand."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from engine.cli.main import main
from engine.report.handout import write
from engine.report.handout.conclusions import conclusions
from engine.report.handout.contents import contents
from engine.report.repeats import Repeats, repeat_rows, repeats_of, repeats_text, words
from engine.report.tables import RESULT_FORMATS, results_text
from engine.store import ResultRow, Store
from tests.helpers.filled_store import fill

STUDY: dict[str, Any] = {
    "name": "Repeated",
    "seeds": [0, 1],
    "dataset": {"name": "digits", "limit": 20},
    "model": [{"name": "digits-resnet"}],
    "compression": [{"name": "finetune", "epochs": 1}],
    "attack": [{"name": "pgd", "eps": 0.15, "steps": 4}, {"name": "fgsm", "eps": 0.15}],
}
# Runs 1 to 4 are those of seed 0: base under pgd and fgsm, tuned under pgd and fgsm; 5 to 8 those
# of seed 1; 9 and 10 attack with pgd again what seeds 0 and 1 trained. What holds, by run:
HOLDS = dict(enumerate((0.90, 0.80, 0.70, 0.60, 0.86, 0.80, 0.40, 0.50, 0.72, 0.44), 1))
TUNED = "finetune standard 1ep"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "lab.db"
    assert fill(path, STUDY) == list(HOLDS)
    return path


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    with Store(database, readonly=True) as opened:
        yield opened


@pytest.fixture
def rows(store: Store) -> list[ResultRow]:
    told = store.with_specs(store.results("Repeated"))
    return [cast(ResultRow, {**row, "robust_accuracy": HOLDS[row["run_id"]]}) for row in told]


def found(rows: list[ResultRow]) -> dict[tuple[str, str], Repeats]:
    return {(one.rows[0]["compression"], one.rows[0]["attack_id"]): one for one in repeats_of(rows)}


def test_every_variant_under_every_attack_has_its_row(rows: list[ResultRow]) -> None:
    told = found(rows)
    assert list(told) == [("none", "pgd"), ("none", "fgsm"), (TUNED, "pgd"), (TUNED, "fgsm")]
    for one in told.values():
        values = [HOLDS[row["run_id"]] for row in one.rows]
        assert one.found.mean == pytest.approx(statistics.fmean(values))
        assert one.found.deviation == pytest.approx(statistics.stdev(values))
        assert (one.found.low, one.found.high) == (min(values), max(values))


def test_where_a_spread_comes_from(rows: list[ResultRow]) -> None:
    told = found(rows)
    base = told["none", "pgd"]  # one variant: what differs is the attack
    assert (base.source, base.parts and base.parts.training) == ("attack", 0.0)
    assert base.parts
    assert base.parts.attack == pytest.approx(0.04**2 / 2)
    assert told["none", "fgsm"].source == "nothing"
    alone = told[TUNED, "fgsm"]  # an attack that draws nothing
    assert alone.source == "training"
    assert alone.parts
    assert (alone.parts.training, alone.parts.attack) == (pytest.approx(0.1**2 / 2), 0.0)


def test_a_second_attack_tells_training_and_attack_apart(rows: list[ResultRow]) -> None:
    one = found(rows)[TUNED, "pgd"]
    assert one.source == "separated"
    assert [row["run_id"] for row in one.second] == [9, 10]
    # Of 0.70, 0.72 and 0.40, 0.44: within (0.02^2 + 0.04^2) / 2 / 2; the means are 0.71 and 0.42.
    within = (0.02**2 + 0.04**2) / 4
    between = 2 * (0.29**2 / 2)
    assert one.parts
    assert one.parts.attack == pytest.approx(within)
    assert one.parts.training == pytest.approx((between - within) / 2)
    # And the mean is of repeats alone: a second attack is none.
    assert one.found.mean == pytest.approx(0.55)


def test_what_is_stored_twice_counts_once(rows: list[ResultRow]) -> None:
    """Kept with more images, each run stands twice; a second attack goes with its own repeat."""
    right = found(rows)[TUNED, "pgd"]

    def kept(row: ResultRow) -> ResultRow:
        spec = {**row["spec"], "keep_images": 7}
        return cast(ResultRow, {**row, "run_id": row["run_id"] + 10, "spec": spec})

    again = [kept(row) for row in rows]
    assert found([*rows, *again])[TUNED, "pgd"] == right
    assert found([*again[8:], *rows])[TUNED, "pgd"] == right
    assert found([*rows, *rows[8:]])[TUNED, "pgd"] == right
    later = found([*again, *rows])[TUNED, "pgd"]
    assert later.run_ids == (13, 17, 19, 20)
    assert later.parts == right.parts


@pytest.mark.parametrize("gone", ["attack", "recipe"])
def test_of_a_method_that_is_gone_nothing_is_claimed(gone: str, rows: list[ResultRow]) -> None:
    lost = {"name": "taken-away", "params": {}}
    changed = [
        cast(
            ResultRow, {**row, "spec": {**row["spec"], gone: lost if gone == "attack" else [lost]}}
        )
        for row in rows
        if row["run_id"] in (4, 8)  # tuned, under an attack that drew nothing
    ]
    (one,) = repeats_of(changed)
    expected = ("together", None) if gone == "attack" else ("training", one.found.variance)
    assert (one.source, one.parts and one.parts.training) == expected
    assert repeats_text([one], "table")


def test_without_the_second_attack_it_is_said_that_both_are_together(
    rows: list[ResultRow],
) -> None:
    unfinished = [
        cast(ResultRow, {**row, "status": "waiting"}) for row in rows if row["run_id"] > 8
    ]
    one = found([*rows[:8], *unfinished])[TUNED, "pgd"]
    assert (one.source, one.parts) == ("together", None)
    assert "training and attack together" in words(one)
    assert repeat_rows([one])[0]["training_variance"] is None
    assert repeats_text([one], "table").count("together") == 2


def test_a_second_attack_stands_in_for_no_repeat(rows: list[ResultRow]) -> None:
    assert (TUNED, "pgd") not in found([row for row in rows if row["run_id"] != 7])


def test_a_random_variant_varies_under_an_attack_that_draws_nothing(
    rows: list[ResultRow],
) -> None:
    flag = {"id": "random-output", "level": "warning", "text": ""}
    random = [cast(ResultRow, {**row, "flags": [flag]}) for row in rows]
    told = found(random)
    assert (told["none", "fgsm"].source, told[TUNED, "fgsm"].source) == ("attack", "together")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 0},  # the same repeat
        {"n": 10},
        {"dataset": {"name": "digits", "limit": 10}},
        {"shared_seed": 7},  # other images
    ],
)
def test_what_differs_in_more_than_the_seed_is_no_repeat(
    change: dict[str, Any], rows: list[ResultRow]
) -> None:
    first, other = rows[0], rows[4]
    assert len(repeats_of([first, other])) == 1
    spec = {**other["spec"], **{key: value for key, value in change.items() if key != "n"}}
    changed = {
        **other,
        "spec": spec,
        **{key: change[key] for key in ("n", "seed") if key in change},
    }
    assert repeats_of([first, cast(ResultRow, changed)]) == []


def test_two_studies_with_other_images_are_no_repeats(tmp_path: Path) -> None:
    tables = {key: value for key, value in STUDY.items() if key != "seeds"}
    rows = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.db"
        fill(path, {**tables, "seed": seed})
        with Store(path, readonly=True) as store:
            rows += store.with_specs(store.results())
    assert repeats_of(rows) == []


def test_distances_are_repeated_as_distances(rows: list[ResultRow]) -> None:
    far = [
        cast(ResultRow, {**row, "robust_accuracy": None, "median_distance": 0.1 * row["run_id"]})
        for row in rows
    ]
    one = found(far)["none", "pgd"]
    assert one.measure == "median_distance"
    assert (one.found.low, one.found.high) == (pytest.approx(0.1), pytest.approx(0.5))
    assert "0.1 to 0.5" in words(one)


def test_files_hold_the_raw_numbers(rows: list[ResultRow]) -> None:
    told = repeats_of(rows)
    lines = list(csv.DictReader(io.StringIO(repeats_text(told, "csv"))))
    assert [line["source"] for line in lines] == ["attack", "nothing", "separated", "training"]
    assert lines[2]["run_ids"] == "3;7"
    assert lines[2]["second_run_ids"] == "9;10"
    assert float(lines[2]["mean"]) == pytest.approx(0.55)
    again = json.loads(repeats_text(told, "json"))
    assert [line["seeds"] for line in again] == ["0;1"] * 4
    shares = [line["training_share"] for line in again]
    assert (shares[0], shares[1], shares[3]) == (0, None, 1)


@pytest.mark.parametrize("format_", RESULT_FORMATS)
def test_the_command_prints_one_row_for_each(format_: str, database: Path) -> None:
    command = ["results", "--over-seeds", "--db", str(database), "--format", format_]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert done.output.count("finetune") == 2


def test_a_database_without_repeats_says_how_to_make_some(tmp_path: Path) -> None:
    fill(tmp_path / "lab.db")
    done = CliRunner().invoke(main, ["results", "--over-seeds", "--db", str(tmp_path / "lab.db")])
    assert "seeds = [0, 1, 2]" in done.stderr


def test_runs_are_listed_with_their_seed_where_there_are_several(store: Store) -> None:
    rows = store.results()
    assert " seed " in results_text(rows, "table").splitlines()[0]
    assert " seed " not in results_text(rows[:4], "table").splitlines()[0]


def test_the_report_tells_of_repeats(store: Store, tmp_path: Path) -> None:
    folder = write.write_report(store, "Repeated", tmp_path / "report", {}).parent
    text = (folder / "tables" / "over-seeds.csv").read_text("utf-8")
    told = repeats_of(store.with_specs(store.results("Repeated")))
    assert text == repeats_text(told, "csv")
    page, short = ((folder / name).read_text("utf-8") for name in ("index.html", "report.md"))
    assert 'id="seeds"' in page
    assert "## Over seeds" in short
    # By hand: run k of this database breaks 2 k of 20, so tuned under pgd 70 % and 30 %.
    assert "digits-resnet, finetune standard 1ep, under pgd-4 0.15: 50.0 ± 28.3 %" in short
    assert "-20.0 ± 0.0 points over 2 seeds" in short


def test_all_runs_of_a_report_have_their_seed(store: Store, tmp_path: Path) -> None:
    folder = write.write_report(store, "Repeated", tmp_path / "report", {}).parent
    runs = (folder / "index.html").read_text("utf-8").split('id="runs"')[1].split("</table>")[0]
    seeds = [row["seed"] for row in store.results("Repeated")]
    for run_id, seed in enumerate(seeds, 1):
        cells = runs.split(f'<tr id="run-{run_id}">')[1].split("</tr>")[0].split("<td")
        assert cells[5] == f' class="number">{seed}</td>'
    heads = runs.split("</thead>")[0].split("<button")[1:]
    assert ">seed<" in heads[4]
    assert len(heads) == len(runs.split('<tr id="run-1">')[1].split("</tr>")[0].split("<td")) - 1


def test_second_attacks_have_no_part_in_differences_and_worst_cases(store: Store) -> None:
    told = contents(store, "Repeated", {})
    assert {one.row["run_id"] for one in told.differences} == {3, 4, 7, 8}
    assert {row["run_id"] for one in told.worst for row in one.rows} == set(range(1, 9))
    assert len(told.finished) == len(told.verdicts) == 10
    assert all(one.runs and set(one.runs) <= set(HOLDS) for one in conclusions(told))


def test_a_worst_case_is_of_one_repeat_and_without_second_attacks(store: Store) -> None:
    # Run k breaks the first 2 k of 20, and the strongest of a repeat its whole worst case.
    repeats = ({1, 2}, {5, 6}, {3, 4}, {7, 8}, {9}, {10})
    for repeat in repeats:
        for run_id in repeat:
            broke = store.who_broke(run_id)
            assert broke
            assert {part.run for part in broke.parts} == repeat
            assert broke.survivors == 20 - 2 * max(repeat)
            assert store.result(run_id)["worst_case"] == pytest.approx(broke.survivors / 20)


def test_more_seeds_change_nothing_of_the_first_repeat(store: Store, tmp_path: Path) -> None:
    tables = {key: value for key, value in STUDY.items() if key != "seeds"}
    ids = fill(tmp_path / "alone.db", {**tables, "seed": 0})
    with Store(tmp_path / "alone.db", readonly=True) as alone:
        for run_id in ids:
            for told in (Store.who_broke, lambda one, id_: one.run(id_)["verdict"]):
                assert told(store, run_id) == told(alone, run_id)
            assert store.result(run_id)["flags"] == alone.result(run_id)["flags"]


@pytest.mark.parametrize(
    "flag", [("stronger-attack", "danger"), ("chosen-on-test", "warning")], ids=lambda flag: flag[0]
)
def test_of_flagged_runs_no_spread_is_concluded(flag: tuple[str, str], store: Store) -> None:
    told = contents(store, "Repeated", {})
    mine = [one for one in conclusions(told) if "over 2 seeds (" in one.text]
    assert all(one.certain for one in mine if "points" not in one.text)
    for row in told.rows:
        row["flags"] = [{"id": flag[0], "level": flag[1], "text": ""}]
    mine = [one for one in conclusions(told) if "over 2 seeds (" in one.text]
    assert not any(one.certain for one in mine)


def test_a_difference_is_concluded_if_it_outlives_every_seed(store: Store) -> None:
    told = contents(store, "Repeated", {})
    for one in told.differences:
        object.__setattr__(one, "adjusted", 0.01)
    apart = [one for one in conclusions(told) if "told from chance with 2 of them" in one.text]
    assert [one.certain for one in apart] == [True, True]
    assert [set(one.runs) for one in apart] == [{3, 1, 7, 5}, {4, 2, 8, 6}]
    base = told.differences[0].base
    for flag, level in (("gradient-masking", "danger"), ("chosen-on-test", "warning")):
        base["flags"] = [{"id": flag, "level": level, "text": ""}]
        doubted = [one for one in conclusions(told) if "seems more robust is flagged" in one.text]
        assert [(one.certain, base["run_id"] in one.runs) for one in doubted] == [(False, True)]
    base["flags"] = []
    object.__setattr__(told.differences[0], "adjusted", 0.5)
    shaken = [one for one in conclusions(told) if "told from chance with 1 of them" in one.text]
    assert [one.certain for one in shaken] == [False]
