"""Charts: what is drawn, looked up in the figure and in the file."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, get_args

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from engine import catalog
from engine.errors import CrumpleError, SpecError
from engine.report.canvas import method_marker
from engine.report.figures import KINDS, SUFFIXES, chart_details, draw_chart, save_chart
from engine.report.identity import family, method
from engine.report.naming import namer, shortened
from engine.report.series import X_AXES, Y_AXES
from engine.specs.choices import StepWords, in_words, make_step, recipe_label
from engine.store import ResultRow, Store
from tests.helpers import curve_store
from tests.helpers.filled_store import fill
from tests.helpers.patience import HANG

Drawn = tuple[list[ResultRow], dict[int, list[ResultRow]]]
OF_RESULTS = ("pareto", "curve", "bars", "heatmap")


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    path = tmp_path / "results.db"
    ids = fill(path)
    with Store(path, readonly=True) as store:
        rows = store.with_specs(store.results())
        return rows, {run_id: store.curve(run_id) for run_id in ids}


@pytest.fixture
def of_kind(tmp_path: Path, kind: str) -> Drawn:
    """What a chart of each kind is drawn from; a flagged run is among it."""
    path = tmp_path / "kind.db"
    if kind == "security":
        curve_store.fill(path)
    else:
        curve_store.add_transfers(path, [fill(path)[1::2]])
    with Store(path, readonly=True) as store:
        rows = store.with_specs(store.results())
        return rows, chart_details(kind, rows, store)


def svg_texts(figure: Figure, path: Path) -> list[str]:
    save_chart(figure, path)
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.text]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_in_every_format_is_the_same_twice(
    of_kind: Drawn, tmp_path: Path, kind: str, suffix: str
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_chart(draw_chart(kind, *of_kind), first)
    save_chart(draw_chart(kind, *of_kind), second)
    assert first.read_bytes() == second.read_bytes()
    magic = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix]
    assert first.read_bytes().startswith(magic)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_is_one_column_wide_with_text_as_text(
    of_kind: Drawn, tmp_path: Path, kind: str
) -> None:
    figure = draw_chart(kind, *of_kind)
    assert figure.get_size_inches()[0] == 3.5
    texts = svg_texts(figure, tmp_path / "chart.svg")
    share = "transfer rate" if kind == "transfer" else "robust accuracy"
    other = {
        "security": "pgd-l2-40",
        "transfer": "magnitude 50%",
        "metrics": "Linf 0.15",
        "categories": "pruning, unstructured",
    }
    attack = other.get(kind, "pgd-4 0.15")
    assert any(share in text for text in texts)
    assert any(attack in text for text in texts)
    assert any("flagged" in text for text in texts)


def test_without_flags_there_is_no_footnote(drawn: Drawn, tmp_path: Path) -> None:
    clean = [row for row in drawn[0] if not row["flags"]]
    texts = svg_texts(draw_chart("pareto", clean), tmp_path / "chart.svg")
    assert not any("flagged" in text for text in texts)


def single_points(figure: Figure) -> list[Line2D]:
    """The markers of a chart: lines of one point, without the caps of the error bars."""
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 1]
    return [line for line in lines if line.get_marker() not in ("_", "|")]


def test_pareto_puts_every_run_where_it_belongs(drawn: Drawn) -> None:
    rows, _ = drawn
    figure = draw_chart("pareto", rows)
    points = single_points(figure)
    places = {(line.get_xdata()[0], line.get_ydata()[0]) for line in points}
    assert places == {(row["compression_rate"], 100 * row["robust_accuracy"]) for row in rows}
    hollow = [line for line in points if to_hex(line.get_markerfacecolor()) == "#ffffff"]
    assert {line.get_xdata()[0] for line in hollow} == {14.5}, "the flagged runs, and only those"
    assert figure.axes[0].get_xscale() == "log"


def test_pareto_error_bars_are_the_stored_intervals(drawn: Drawn) -> None:
    row = drawn[0][0]
    (axes,) = draw_chart("pareto", [row]).axes
    (bar,) = axes.containers[0][2]
    ends = bar.get_segments()[0][:, 1]
    assert ends == pytest.approx([100 * row["ci_low"], 100 * row["ci_high"]])
    assert axes.get_xscale() == "linear"


def pruned_harder(rows: list[ResultRow]) -> list[ResultRow]:
    """The runs, and those of magnitude pruning once more at a higher rate."""
    harder = [row for row in rows if row["compression"] == "magnitude 50%"]
    changes = {"compression": "magnitude 90%", "compression_rate": 6.0}
    return [*rows, *({**row, **changes, **recipe({"sparsity": 0.9}, row)} for row in harder)]


def recipe(change: dict[str, Any], row: ResultRow, name: str = "magnitude") -> dict[str, Any]:
    """The spec of a row with another recipe of one step."""
    step = make_step({"name": name, **change}).model_dump(mode="json")
    return {"spec": {**row["spec"], "recipe": [step]}}


def test_pareto_joins_what_differs_in_degree_and_no_two_methods(drawn: Drawn) -> None:
    (axes,) = draw_chart("pareto", pruned_harder(drawn[0])).axes
    joined = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) > 1]
    assert joined == [(1.0, 2.0, 6.0), (1.0, 2.0, 6.0)], "the one quantised variant stands alone"


def test_a_family_is_one_way_of_doing_it_at_any_degree() -> None:
    def of(*steps: dict[str, Any]) -> str:
        made = [make_step(step).model_dump(mode="json") for step in steps]
        return family({"spec": {"recipe": made}, "compression": "a label that nobody reads"})

    half, most = ({"name": "magnitude", "sparsity": share} for share in (0.5, 0.9))
    assert of(half) == of(most) != of({**most, "schedule": "gradual", "training": "pgd-at"})
    assert of({**most, "schedule": "gradual"}) != of({**most, "schedule": "gradual", "epochs": 9})
    dorefa = {"name": "qat", "method": "dorefa"}
    assert (
        of(dorefa)
        == of({**dorefa, "bits": 3})
        != of({"name": "qat", "method": "binary", "bits": 1})
    )
    student = {"student": "digits-cnn"}
    assert of({"name": "iad-1", **student}) != of({"name": "iad-2", **student})
    assert of(half, {"name": "ptq"}) == of(most, {"name": "ptq", "bits": 3}) != of({"name": "ptq"})
    assert of() == "none"


def test_series_and_methods_differ_in_more_than_colour(drawn: Drawn) -> None:
    figure = draw_chart("pareto", pruned_harder(drawn[0]))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    lines = [line for line in lines if line.get_linestyle() != "None"]
    assert len({line.get_color() for line in lines}) == 2
    assert len({str(line.get_linestyle()) for line in lines}) == 2
    assert len({line.get_marker() for line in single_points(figure)}) == 3


def test_curve_draws_the_points_of_each_run(drawn: Drawn) -> None:
    rows, curves = drawn
    (axes,) = draw_chart("curve", rows, curves).axes
    assert len(axes.lines) == len(rows)
    for line, row in zip(axes.lines, rows, strict=True):
        assert list(line.get_ydata()) == [100 * p["robust_accuracy"] for p in curves[row["run_id"]]]


def test_bars_and_heatmap_show_every_run_once_and_every_worst_case(drawn: Drawn) -> None:
    rows, _ = drawn
    worst: dict[str, float] = {}
    for row in rows:
        before = worst.get(row["compression"], 1.0)
        worst[row["compression"]] = min(before, row["worst_case"])
    (axes,) = draw_chart("bars", rows).axes
    widths = sorted(patch.get_width() for patch in axes.patches)
    shares = [*(row["robust_accuracy"] for row in rows), *worst.values()]
    assert widths == pytest.approx(sorted(100 * share for share in shares))
    texts = sorted(text.get_text() for text in draw_chart("heatmap", rows).axes[0].texts)
    flagged = {row["run_id"] for row in rows if row["flags"]}
    numbers = [(row["run_id"], f"{100 * row['robust_accuracy']:.1f}") for row in rows]
    own = [f"({n})" if run in flagged else n for run, n in numbers]
    assert texts == sorted([*own, *(f"{100 * share:.1f}" for share in worst.values())])


def test_one_attack_that_is_the_worst_case_is_drawn_once(drawn: Drawn) -> None:
    alone = [row for row in drawn[0] if "pgd" in row["attack"]]  # which breaks what fgsm does
    assert len(draw_chart("bars", alone).axes[0].patches) == len(alone)
    beaten = [{**row, "worst_case": 0.0} for row in alone]
    assert len(draw_chart("bars", beaten).axes[0].patches) == 2 * len(alone)


def test_heatmap_with_a_hole_is_drawn(drawn: Drawn, tmp_path: Path) -> None:
    save_chart(draw_chart("heatmap", drawn[0][:-1]), tmp_path / "hole.png")


def test_runs_that_cannot_be_compared_never_share_a_name(drawn: Drawn) -> None:
    rows = [drawn[0][0], {**drawn[0][0], "dataset": "mine"}, {**drawn[0][0], "n": 500}]
    name = namer(rows, ("model", "attack"))
    assert len({name(row) for row in rows}) == 3
    assert name(rows[0]) == "digits, n=20"


def test_a_method_is_a_recipe_without_its_amounts() -> None:
    steps = [make_step({"name": name}).model_dump(mode="json") for name in ("magnitude", "ptq")]
    assert method({"spec": {"recipe": []}, "compression": "x"}) == "none"
    assert method({"spec": {"recipe": steps}, "compression": "x"}) == "magnitude + ptq"


def test_dollars_and_underscores_in_names_are_only_text(drawn: Drawn, tmp_path: Path) -> None:
    rows = [{**row, "model": f"m_{number}$x$^\\"} for number, row in enumerate(drawn[0])]
    texts = svg_texts(draw_chart("pareto", rows), tmp_path / "chart.svg")
    assert any("m_0$x$^\\" in text for text in texts)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_draw_is_said(drawn: Drawn, kind: str) -> None:
    waiting = [{**row, "robust_accuracy": None, "clean_accuracy": None} for row in drawn[0]]
    with pytest.raises(CrumpleError, match="nothing to draw"):
        draw_chart(kind, waiting, {})


def test_a_chart_that_lacks_its_axis_is_said(drawn: Drawn) -> None:
    rows, _ = drawn
    with pytest.raises(CrumpleError, match="no finished run has a compression rate"):
        draw_chart("pareto", [{**row, "compression_rate": None} for row in rows])
    with pytest.raises(CrumpleError, match="no chosen run has a curve"):
        draw_chart("curve", rows, {})


def test_bad_kinds_and_files_are_named(drawn: Drawn, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"'pie'.*pareto"):
        draw_chart("pie", drawn[0])
    figure = draw_chart("bars", drawn[0])
    with pytest.raises(SpecError, match=r"chart\.gif.*\.svg"):
        save_chart(figure, tmp_path / "chart.gif")
    with pytest.raises(CrumpleError, match="cannot be written"):
        save_chart(figure, tmp_path / "missing" / "chart.svg")
    assert list(tmp_path.glob("chart*")) == []


def test_drawing_leaves_matplotlib_as_it_was(drawn: Drawn) -> None:
    before = dict(mpl.rcParams)
    draw_chart("curve", *drawn)
    assert dict(mpl.rcParams) == before


def test_pyplot_is_never_imported() -> None:
    script = "import engine.report.charts, sys; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=HANG)


def told(*steps: dict[str, Any]) -> dict[str, Any]:
    """A row as the store gives it, of a variant with these steps."""
    recipe = tuple(make_step(step) for step in steps)
    named = {"model": "m", "attack": "pgd"}
    return {**named, "compression": recipe_label(recipe), "recipe": in_words(recipe)}


def test_names_leave_out_what_labels_spell_out_unless_it_tells_variants_apart() -> None:
    hydra = told({"name": "hydra", "density": 0.1, "prune_epochs": 6, "batch_size": 32})
    longer = told({"name": "hydra", "density": 0.1, "prune_epochs": 9})
    ard = {"name": "ard", "epochs": 10, "schedule": "as coded", "eps": 0.15}
    both = told({"name": "magnitude", "sparsity": 0.8}, ard, {"name": "ptq", "bits": 4})
    brief = "magnitude 80% + ard 10ep 0.15 + ptq w4"
    assert "prune_epochs=6" in hydra["compression"]
    assert "schedule=as-coded" in both["compression"]
    assert shortened([hydra, both, told()]) == {
        hydra["compression"]: "hydra 10%",
        both["compression"]: brief,
        "none": "none",
    }
    assert shortened([hydra, longer])[hydra["compression"]] == hydra["compression"]
    name = namer([hydra, both], ("model", "compression", "attack"))
    assert [name(row) for row in (hydra, both)] == ["hydra 10%", brief]


def test_no_name_is_taken_apart() -> None:
    """A label that looks as if it had parts has none; what is brief is stored beside it."""
    odd = {"model": "m", "attack": "pgd", "compression": "mine a=b + c d=e", "recipe": None}
    assert shortened([odd]) == {"mine a=b + c d=e": "mine a=b + c d=e"}
    words = [StepWords(name="mine", label="mine a=b + c d=e", brief="short a=b")]
    assert shortened([{**odd, "recipe": words}]) == {"mine a=b + c d=e": "short a=b"}


def test_a_brief_label_spells_nothing_out() -> None:
    for name, entry in catalog.section("compressions").items():
        fields = entry.params.model_fields
        if "schedule" in fields and "as coded" in get_args(fields["schedule"].annotation):
            params = entry.params.model_validate({"schedule": "as coded"})
            assert "schedule=as-coded" in entry.label(params)
            assert params.brief(entry.id) == entry.params().brief(entry.id), name


def test_there_is_a_marker_for_every_method_and_no_two_are_one() -> None:
    outlines = []
    for number in range(37):
        marker = MarkerStyle(method_marker(number))
        path = marker.get_path().transformed(marker.get_transform())
        box = path.get_extents()
        assert 0.1 < box.height < 3
        assert box.width < 3, "a letter, not a word"
        outlines.append((path.vertices.round(6).tobytes(), marker.is_filled()))
    assert len(set(outlines)) == 37


@pytest.mark.parametrize("upwards", ["clean_accuracy", "worst_case"])
def test_print_has_the_axes_that_are_asked_for(drawn: Drawn, upwards: str) -> None:
    size, clean = X_AXES[1], next(one for one in Y_AXES if one.id == upwards)
    rows = [{**row, "size_bytes": 1000 * row["run_id"]} for row in drawn[0]]
    figure = draw_chart("pareto", rows, axes=(size, clean))
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == (size.title, clean.title)
    places = {(line.get_xdata()[0], line.get_ydata()[0]) for line in single_points(figure)}
    assert places == {(row["size_bytes"], 100 * row[upwards]) for row in rows}
