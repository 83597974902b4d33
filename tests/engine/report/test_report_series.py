"""Series are told by what is stored: a name that two runs share joins nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.report import naming
from engine.report import series as report_series
from engine.report.identity import names
from engine.report.series import X_AXES, Y_AXES, Axis, Point, Series, series_of
from engine.report.tables import results_text
from engine.specs.choices import AttackSpec, make_attack, make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Run, Study
from engine.store import ResultRow, Store, Writer
from tests.helpers import curve_store
from tests.helpers.filled_store import fill

RATE, EPS = X_AXES[0], X_AXES[-1]
ROBUST = Y_AXES[0]
RADII = (0.1, 0.2, 0.3)


def row(number: int, attack: dict[str, Any] | AttackSpec, **more: Any) -> ResultRow:
    """A finished run as the store gives it."""
    made = make_attack(attack)
    steps = tuple(make_step(step) for step in more.pop("steps", ()))
    dataset = DatasetSpec.model_validate(more.pop("dataset", {"name": "digits"}))
    run = Run(dataset=dataset, model="digits-resnet", recipe=steps, attack=made)
    return {
        "run_id": number, "study": "s", "dataset": dataset.label, "n": 100, "seed": 0,
        "model": run.model, "compression": run.compression, "attack": made.label,
        "eps": made.eps, "norm": made.norm, "robust_accuracy": 0.5, "clean_accuracy": 1.0,
        "ci_low": 0.4, "ci_high": 0.6, "compression_rate": float(number), "flags": [],
        "status": "finished", "spec": run.model_dump(mode="json"), **more,
    }  # fmt: skip


def joined(series: Series) -> list[tuple[Point, ...]]:
    return [tuple(series.points[place] for place in line) for line in series.line_places]


def lines(series: Sequence[Series]) -> list[list[float]]:
    return [[point.x for point in one.points] for one in series]


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({"name": "pgd"}, {"name": "pgd", "targets": 3}, "targets=3"),
        ({"name": "pgd"}, {"name": "pgd", "step_size": 0.01}, "step_size=0.01"),
        ({"name": "pgd"}, {"name": "pgd", "random_start": False}, "random_start=False"),
        ({"name": "square"}, {"name": "square", "norm": "L2"}, "norm=L2"),
        ({"name": "apgd-ce"}, {"name": "apgd-ce", "norm": "L2"}, "norm=L2"),
        ({"name": "pgd"}, {"name": "fgsm"}, "fgsm"),
        ({"name": "pgd", "steps": 10}, {"name": "pgd", "steps": 40}, "pgd-40"),
    ],
)
def test_along_eps_attacks_that_differ_in_more_than_eps_are_series_of_their_own(
    one: dict[str, Any], other: dict[str, Any], word: str
) -> None:
    rows = [
        row(number, {**attack, "eps": eps})
        for number, (attack, eps) in enumerate((a, e) for a in (one, other) for e in RADII)
    ]
    series = series_of(rows, EPS, ROBUST)
    assert lines(series) == [[*RADII], [*RADII]]
    assert len({each.name for each in series}) == 2
    assert any(word in each.name for each in series)
    assert not any("eps=" in each.name for each in series)


def test_along_eps_the_worst_cases_of_the_same_attacks_are_one_series() -> None:
    """Their attacks have the radius, too; that it moves there as well makes no other attack."""
    rows: list[ResultRow] = []
    for steps in (10, 40):
        pgd = {"name": "pgd", "steps": steps, "eps": list(RADII)}
        study = Study.from_dict(
            {
                "name": "worst",
                "mode": "worst-case",
                "dataset": {"name": "digits"},
                "model": [{"name": "digits-resnet"}],
                "attack": [pgd, {"name": "fmn", "norm": "Linf"}],
            }
        )
        rows += [row(len(rows) + n, attack) for n, attack in enumerate(study.attack_specs())]
    series = series_of(rows, EPS, ROBUST)
    assert lines(series) == [list(RADII)] * 2
    assert "attacks=pgd-10, fmn-100" in series[0].name
    assert "attacks=pgd-40, fmn-100" in series[1].name
    assert len(series_of(rows, RATE, ROBUST)) == 6, "of other radii they are other attacks"


def test_recipes_and_folders_with_one_name_stay_apart() -> None:
    pgd = {"name": "pgd", "eps": 0.1}
    magnitude = {"name": "magnitude", "sparsity": 0.5}
    gradual = {**magnitude, "schedule": "gradual", "momentum": 0.5}
    same = [row(n, pgd, steps=[step], compression="magnitude 50%") for n, step in
            enumerate((magnitude, gradual))]  # fmt: skip
    assert len(series_of(same, EPS, ROBUST)) == 2
    folders = [row(n, pgd, dataset={"folder": f"/{n}/val"}) for n in range(2)]
    series = series_of(folders, RATE, ROBUST)
    assert len(series) == 2
    assert {"/0/val", "/1/val"} == {one.name.rpartition("=")[2] for one in series}


def test_lines_join_variants_that_differ_in_degree_alone() -> None:
    pgd = {"name": "pgd", "eps": 0.1}
    steps = [
        [],
        [{"name": "magnitude", "sparsity": 0.5}],
        [{"name": "magnitude", "sparsity": 0.9}],
        [{"name": "magnitude", "sparsity": 0.95, "scope": "layer"}],
    ]
    rows = [row(number, pgd, steps=recipe) for number, recipe in enumerate(steps)]
    (series,) = series_of(rows, RATE, ROBUST)
    assert [[point.run_id for point in line] for line in joined(series)] == [[0, 1, 2]]


def test_a_series_is_named_once_however_many_runs_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[int] = []
    keyed: list[int] = []

    def namer(*given: Any) -> Any:
        name = naming.namer(*given)
        return lambda one: [named.append(one["run_id"]), name(one)][1]

    def series_key(one: ResultRow, x: Axis) -> str:
        keyed.append(one["run_id"])
        return given_key(one, x)

    given_key = report_series.series_key
    monkeypatch.setattr(report_series, "namer", namer)
    monkeypatch.setattr(report_series, "series_key", series_key)
    rows = [
        row(10 * n + m, {"name": "pgd", "eps": eps})
        for n, eps in enumerate(RADII)
        for m in range(9)
    ]
    assert [len(one.points) for one in series_of(rows, RATE, ROBUST)] == [9, 9, 9]
    assert named == [0, 10, 20]
    assert sorted(keyed) == [one["run_id"] for one in rows]


def test_words_are_made_for_the_points_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[int] = []

    def describe(one: ResultRow) -> str:
        described.append(one["run_id"])
        return "words"

    monkeypatch.setattr(report_series, "describe", describe)
    rows = [row(n, {"name": "pgd", "eps": eps}) for n, eps in enumerate(RADII)]
    points = [point for one in series_of(rows, EPS, ROBUST) for point in one.points]
    assert described == []
    assert (points[1].words, described) == ("words", [1])


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_those_of_their_definition(seed: int) -> None:
    """Each family of several places, with the base model, in the order of the points."""
    draw = np.random.default_rng(seed)
    kinds = draw.choice(["none", "a", "b", "c"], draw.integers(0, 12)).tolist()
    points = tuple(
        Point(n, x, 0.5, 0.4, 0.6, flagged=False, row={}, family=kind)
        for n, (kind, x) in enumerate(
            zip(kinds, sorted(draw.integers(0, 5, len(kinds))), strict=True)
        )
    )
    families = dict.fromkeys(point.family for point in points)
    kinds = [family for family in families if family != "none"] or list(families)
    expected = [
        tuple(point for point in points if point.family in (kind, "none"))
        for kind in kinds
        if len({point.x for point in points if point.family == kind}) > 1
    ]
    assert joined(Series(0, "s", points)) == expected


def test_labels_are_never_read() -> None:
    rows = [row(n, {"name": "pgd", "eps": eps}) for n, eps in enumerate(RADII)]
    nonsense = [{**one, "attack": f"a {n}+ b=c", "compression": "x + y 5%"} for n, one in
                enumerate(rows)]  # fmt: skip
    assert lines(series_of(nonsense, EPS, ROBUST)) == lines(series_of(rows, EPS, ROBUST))
    assert {one.points[0].method for one in series_of(nonsense, EPS, ROBUST)} == {"none"}


def test_names_are_never_shared() -> None:
    rows = [row(number, {"name": "pgd"}) for number in range(3)]
    found = names(rows, lambda one: str(one["run_id"]), lambda one: "a\nb")
    assert len(set(found.values())) == 3
    assert all("\n" not in name for name in found.values())


def test_the_store_gives_the_specs_of_rows(tmp_path: Path) -> None:
    fill(tmp_path / "r.db")
    with Store(tmp_path / "r.db", readonly=True) as store:
        rows = store.with_specs(store.results())
        for one in rows:
            assert Run.model_validate(one["spec"]) == store.run_spec(one["run_id"])


def test_an_attack_without_eps_has_distances_and_no_robust_accuracy(tmp_path: Path) -> None:
    ids = curve_store.fill(tmp_path / "r.db")
    with Store(tmp_path / "r.db", readonly=True) as store:
        rows = {one["run_id"]: one for one in store.with_specs(store.results())}
        found = sorted(sample["l2"] for sample in store.samples(ids[0]))
    middle = (found[curve_store.N // 2 - 1] + found[curve_store.N // 2]) / 2
    closest, checked = rows[ids[0]], rows[ids[1]]
    assert closest["median_distance"] == pytest.approx(middle)
    assert checked["median_distance"] is None
    for name in ("robust_accuracy", "ci_low", "ci_high", "worst_case"):
        assert closest[name] is None
    assert checked["robust_accuracy"] is not None
    drawn = {p.run_id for one in series_of([*rows.values()], RATE, ROBUST) for p in one.points}
    assert ids[0] not in drawn
    assert ids[1] in drawn
    for format_ in ("table", "markdown", "latex"):
        (line,) = [text for text in results_text([closest], format_).splitlines() if "fmn" in text]
        assert f"L2 {middle:.3g}" in line
        assert " 0.0 " not in line.replace("|", " ").replace("&", " ")


def test_distances_of_runs_from_before_are_taken_from_their_images(tmp_path: Path) -> None:
    ids = curve_store.fill(tmp_path / "r.db")
    with Writer(tmp_path / "r.db") as store:
        known = [one["median_distance"] for one in store.results()]
        store.db.execute("ALTER TABLE runs DROP COLUMN median_distance")
        store.db.execute("DELETE FROM _sqlite_migrations WHERE name = '0005_distances'")
        store.db.conn.commit()
    with Store(tmp_path / "r.db") as store:
        assert [one["median_distance"] for one in store.results()] == known
        assert known[0] is not None
    assert len(ids) == len(known)


TUNED = [{"name": "finetune", "epochs": 1}]


def repeat(number: int, seed: int, share: float, **more: Any) -> ResultRow:
    """A run of a study with the seeds 4, 5 and 6."""
    made = row(number, {"name": "pgd"}, robust_accuracy=share, **more)
    seeds = {"seed": seed, "shared_seed": None if seed == 4 else 4}
    return {**made, "seed": seed, "spec": {**made["spec"], **seeds}}


def repeats() -> list[ResultRow]:
    return [
        *(repeat(1 + n, 4 + n, 0.8 + n / 100, compression_rate=1.0) for n in range(3)),
        *(
            repeat(4 + n, 4 + n, 0.5 + n / 10, compression_rate=4.0 + n / 10, steps=TUNED)
            for n in range(3)
        ),
    ]


def test_repeats_are_points_of_one_series_with_their_mean_and_spread() -> None:
    (one,) = series_of(repeats(), RATE, ROBUST)
    assert one.run_ids == (1, 2, 3, 4, 5, 6)
    assert one.repeat_places == [[0, 1, 2], [3, 4, 5]]
    assert one.spreads == pytest.approx(np.array([[1, 4.1], [0.81, 0.6], [0.80, 0.5], [0.82, 0.7]]))
    (line,) = one.line_numbers  # from mean to mean
    assert line == pytest.approx(np.array([[1, 4.1], [0.81, 0.6]]))
    # Only the spread has a bar; what a file tells of a point stays its own interval.
    assert np.array_equal(one.numbers[2], one.numbers[1])
    assert all(point.low < point.y < point.high for point in one.points)
    assert one.points[-1].words.endswith("Seed 6; over 3 seeds 60.0 ± 10.0 %")


def test_second_attacks_are_no_points() -> None:
    rows = repeats()
    second = {**rows[3], "run_id": 7, "spec": {**rows[3]["spec"], "attack_seed": 5}}
    (one,) = series_of([*rows, second], RATE, ROBUST)
    assert 7 not in one.run_ids


def test_along_eps_repeats_of_one_radius_go_together() -> None:
    rows = [
        {**repeat(10 * n + seed, seed, 0.9 - n / 10, eps=eps), "eps": eps}
        for n, eps in enumerate(RADII)
        for seed in (4, 5)
    ]
    for each in rows:
        each["spec"]["attack"] = make_attack({"name": "pgd", "eps": each["eps"]}).model_dump()
    (one,) = series_of(rows, EPS, ROBUST)
    assert one.spreads[0].tolist() == [*RADII]
    assert one.line_numbers[0][0].tolist() == [*RADII]


def test_runs_of_other_images_are_no_repeats_of_these() -> None:
    rows = repeats()
    alone = {**rows[0], "run_id": 9, "seed": 9, "spec": {**rows[0]["spec"], "seed": 9}}
    assert len(series_of([*rows, alone], RATE, ROBUST)) == 2


def test_without_repeats_every_point_has_its_interval() -> None:
    (one,) = series_of([row(n, {"name": "pgd"}, robust_accuracy=0.5) for n in (1, 2)], RATE, ROBUST)
    assert one.repeat_places == []
    assert one.spreads.shape == (4, 0)
    assert (one.numbers[2] < one.numbers[1]).all()
