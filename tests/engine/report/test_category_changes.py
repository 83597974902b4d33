"""Categories beside their base models: counted again by hand on a store that is all known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import CrumpleError
from engine.report.category_changes import COLUMNS, Change, change_rows, changes
from engine.report.cells import csv_text
from engine.report.figures import chart_details, draw_chart
from engine.report.handout.measured import category_table
from engine.statistics.intervals import mcnemar_exact, paired_interval
from engine.store import ResultRow, Store
from tests.helpers.measured_store import N, Told, fill

STUDY: dict[str, Any] = {
    "name": "Categories",
    "dataset": {"name": "digits", "limit": N},
    "model": [{"name": "digits-resnet"}, {"name": "digits-resnet-at"}],
    "compression": [
        {"name": "ptq", "bits": 8},
        {"name": "magnitude", "sparsity": 0.9},
        {"name": "channel", "keep": 0.5},
    ],
    "attack": [
        {"name": "pgd", "eps": 0.15, "steps": 4},
        {"name": "square", "eps": 0.15},
        {"name": "ddn"},
    ],
}
CHANNEL = "channel 50% MACs"
NEAR = {"ddn": ()}
"""No example of the attack without a ball lies in the ball of the others."""
ROBUST, BROKEN = "digits-resnet-at", "digits-resnet"
TOLD = {
    # 9 of 20 are gone: 0 without an attack, 1 to 7 by the one, 8 by the other.
    (ROBUST, "none"): Told({"pgd": range(1, 8), "square": [8], **NEAR}, mistakes=[0]),
    # 14 are gone, of which only 12 by the strongest run; three wrong without an attack.
    (ROBUST, "magnitude 90%"): Told(
        {"pgd": range(3, 12), "square": [15, 16], **NEAR}, mistakes=[0, 1, 2], size=250
    ),
    # 6 are gone: more robust than its base, and it grew.
    (ROBUST, CHANNEL): Told({"pgd": range(6), "square": [], **NEAR}, size=1250, macs=125),
    (ROBUST, "ptq w8"): Told({"pgd": range(9), "square": [], **NEAR}, size=500, macs=None),
    (BROKEN, "none"): Told({"pgd": range(N), "square": range(N), **NEAR}),
    (BROKEN, "magnitude 90%"): Told({"pgd": range(N), "square": range(N), **NEAR}, size=250),
    (BROKEN, CHANNEL): Told({"pgd": range(19), "square": [], **NEAR}, size=500, macs=250),
    (BROKEN, "ptq w8"): Told({"pgd": range(N), "square": [], **NEAR}, size=500),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("categories") / "lab.db"
    fill(path, STUDY, TOLD)
    with Store(path, readonly=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def rows(store: Store) -> list[ResultRow]:
    return store.with_specs(store.results())


@pytest.fixture(scope="module")
def found(store: Store, rows: list[ResultRow]) -> dict[tuple[str, str], Change]:
    told = changes(rows, store)
    return {(one.row["model"], one.row["compression"]): one for one in told}


def test_every_variant_stands_beside_its_own_base(found: dict[tuple[str, str], Change]) -> None:
    assert set(found) == {place for place in TOLD if place[1] != "none"}
    for (model, _), one in found.items():
        assert (one.base["model"], one.base["compression"]) == (model, "none")


def test_changes_are_those_that_one_counts(found: dict[tuple[str, str], Change]) -> None:
    one = found[ROBUST, "magnitude 90%"]
    assert (one.survivors, one.base_survivors) == (6, 11)
    assert (one.clean.difference, one.robust.difference) == pytest.approx((-2 / 20, -5 / 20))
    # Gone from the variant alone: 9, 10, 11, 15, 16; from the base model alone: none.
    assert (one.robust.only_a, one.robust.only_b) == (5, 0)
    assert (one.clean.only_a, one.clean.only_b) == (2, 0)
    assert (one.robust.low, one.robust.high) == paired_interval(5, 0, 20)
    assert one.robust.p_value == mcnemar_exact(5, 0) == pytest.approx(2 / 2**5)
    assert found[ROBUST, CHANNEL].robust.difference == pytest.approx(3 / 20)


def test_every_change_is_a_recount_from_the_samples(
    found: dict[tuple[str, str], Change], store: Store, rows: list[ResultRow]
) -> None:
    def gone(model: str, compression: str) -> set[int]:
        runs = [row for row in rows if (row["model"], row["compression"]) == (model, compression)]
        inside = [row["run_id"] for row in runs if row["eps"] is not None]
        return {one["index"] for run in inside for one in store.samples(run) if one["broken"]}

    for (model, compression), one in found.items():
        own, base = gone(model, compression), gone(model, "none")
        assert one.survivors == N - len(own)
        assert (one.robust.only_a, one.robust.only_b) == (len(own - base), len(base - own))
        assert one.survivors / N == pytest.approx(one.row["worst_case"])


def test_what_is_kept_per_byte_and_per_mac(found: dict[tuple[str, str], Change]) -> None:
    pruned, cut = found[ROBUST, "magnitude 90%"], found[ROBUST, CHANNEL]
    assert pruned.kept.value == pytest.approx(6 / 11)
    assert pruned.kept_per_byte.value == pytest.approx(6 / 11 / 0.75)
    assert cut.kept_per_mac.value == pytest.approx(14 / 11 / 0.75)
    assert cut.bytes_saved.value == pytest.approx(-0.25)


def test_a_ratio_that_is_not_defined_says_why(found: dict[tuple[str, str], Change]) -> None:
    assert found[ROBUST, "magnitude 90%"].kept_per_mac.plain == "no MACs saved"
    assert found[ROBUST, CHANNEL].kept_per_byte.plain == "no bytes saved"
    assert found[ROBUST, "ptq w8"].kept_per_mac.plain == "not stored"
    for name in ("kept", "kept_per_byte", "kept_per_mac"):
        assert getattr(found[BROKEN, CHANNEL], name).plain == "the base keeps nothing"
    table = category_table(list(found.values()))
    text = table.text("markdown") + csv_text(COLUMNS, change_rows(list(found.values())))
    assert not {"inf", "nan"} & set(text.replace("|", " ").replace(",", " ").casefold().split())


def test_the_file_has_empty_cells_and_the_reason(found: dict[tuple[str, str], Change]) -> None:
    text = csv_text(COLUMNS, change_rows(list(found.values())))
    read = list(csv.DictReader(io.StringIO(text)))
    (row,) = [one for one in read if (one["model"], one["compression"]) == (BROKEN, CHANNEL)]
    assert (row["kept"], row["kept_per_byte"], row["bytes_saved"]) == ("", "", "0.5")
    assert "kept: the base keeps nothing" in row["remarks"]
    assert (row["worst_case"], row["base_worst_case"]) == ("0.05", "0.0")
    assert (row["category"], row["structure"]) == ("pruning", "structured")


def test_categories_come_in_the_order_of_the_review_and_by_rate(
    store: Store, rows: list[ResultRow]
) -> None:
    told = [(one.category.name, one.category.structure) for one in changes(rows, store)]
    expected = [("pruning", "structured"), ("pruning", "unstructured"), ("quantisation", "")]
    assert told == [one for one in expected for _ in range(2)]


def test_a_variant_without_a_base_model_has_no_change(store: Store, rows: list[ResultRow]) -> None:
    alone = [row for row in rows if row["compression"] != "none" or row["model"] == BROKEN]
    assert {one.row["model"] for one in changes(alone, store)} == {BROKEN}


def test_the_picture_of_the_metrics_shows_what_is_stored(rows: list[ResultRow]) -> None:
    inside = [row for row in rows if row["eps"] is not None]
    figure = draw_chart("metrics", inside)
    robust, moved, rate, parameters = figure.axes
    names = [label.get_text() for label in robust.get_yticklabels()]
    headings = {
        label.get_text() for label in robust.get_yticklabels() if label.get_weight() == "bold"
    }
    assert len(names) == len(TOLD) + len(headings) == len(TOLD) + 4
    assert "uncompressed" in headings

    def points(axes: Any, marker: str) -> list[float]:
        lines = [line for line in axes.lines if line.get_marker() == marker]
        return sorted(float(line.get_xdata()[0]) for line in lines if len(line.get_xdata()) == 1)

    def strongest(column: str) -> list[float]:
        groups: dict[tuple[str, str], list[Any]] = {}
        for row in inside:
            groups.setdefault((row["model"], row["compression"]), []).append(row)
        found = [min(group, key=lambda row: row["robust_accuracy"]) for group in groups.values()]
        return sorted(row[column] for row in found)

    assert points(robust, "o") == pytest.approx([100 * one for one in strongest("worst_case")])
    assert points(moved, "o") == pytest.approx(strongest("avg_perturbation_l2"))
    assert points(rate, "o") == pytest.approx(strongest("compression_rate"))
    assert points(parameters, "d") == pytest.approx(strongest("parameters"))
    assert points(parameters, "o") == pytest.approx(strongest("nonzero_parameters"))
    heights = {axes.get_ylim() for axes in figure.axes}
    assert len(heights) == 1, "all panels share the axis of the variants"


def test_runs_without_a_ball_have_a_line_too(rows: list[ResultRow]) -> None:
    far = [row for row in rows if row["eps"] is None]
    robust, moved, *_ = draw_chart("metrics", far).axes
    assert not [line for line in robust.lines if line.get_marker() == "o"]
    assert len([line for line in moved.lines if line.get_marker() == "o"]) == len(TOLD)


def test_the_picture_of_the_categories_shows_every_change(
    store: Store, rows: list[ResultRow], found: dict[tuple[str, str], Change]
) -> None:
    figure = draw_chart("categories", rows, chart_details("categories", rows, store))
    for axes, name in zip(figure.axes, ("clean", "robust"), strict=True):
        drawn = {
            (line.get_xdata()[0], round(float(line.get_ydata()[0]), 9))
            for line in axes.lines
            if len(line.get_xdata()) == 1 and line.get_marker() not in ("_", "|")
        }
        assert drawn == {
            (one.row["compression_rate"], round(100 * getattr(one, name).difference, 9))
            for one in found.values()
        }


def test_without_a_base_model_there_is_no_picture_of_categories(
    store: Store, rows: list[ResultRow]
) -> None:
    alone = [row for row in rows if row["compression"] != "none"]
    with pytest.raises(CrumpleError, match="no variant has its base model"):
        draw_chart("categories", alone, chart_details("categories", alone, store))
