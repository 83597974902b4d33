"""Security curves and transfer matrices in figures and tables, against closed forms."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from engine.errors import CrumpleError, SpecError
from engine.report import security
from engine.report.figures import chart_details, draw_chart
from engine.report.security import Panel, needed, panels
from engine.report.transfer import matrices, transfers_text
from engine.statistics.intervals import wilson
from engine.store import TRANSFER_COLUMNS, ResultRow, Store
from tests.helpers import filled_store
from tests.helpers.curve_store import EPS, STUDY, N, add_transfers, affine_distances, fill


def read(path: Path, kind: str = "security") -> tuple[list[ResultRow], dict[int, list[ResultRow]]]:
    with Store(path, readonly=True) as store:
        rows = store.results()
        return rows, chart_details(kind, rows, store)


def panel_of(path: Path) -> Panel:
    (panel,) = panels(*read(path))
    return panel


def test_the_curve_of_an_affine_model_is_its_worst_case_margin(tmp_path: Path) -> None:
    fill(tmp_path / "a.db")
    line = panel_of(tmp_path / "a.db").lines[0]
    # The same model without its distances: an image holds if its margin outlasts eps |w|.
    draw = np.random.default_rng(0)
    weight, points = draw.normal(size=5), draw.normal(size=(N, 5))
    margins = points @ weight + 0.5
    grid = line.curve.eps[1:]  # at 0 exactly an image on the boundary would be a matter of taste
    held = (margins[:, None] - grid * np.linalg.norm(weight) > 0).sum(axis=0)
    assert line.curve.robust_accuracy[1:] == pytest.approx(held / N)
    low, high = wilson(held, N)
    assert line.curve.ci_low[1:] == pytest.approx(low)
    assert line.curve.ci_high[1:] == pytest.approx(high)
    assert line.curve.eps[-1] >= 1.1 * max(EPS)


def test_checks_belong_to_the_curve_of_their_variant(tmp_path: Path) -> None:
    fill(tmp_path / "a.db")
    panel = panel_of(tmp_path / "a.db")
    assert (panel.norm, [line.row["run_id"] for line in panel.lines]) == ("L2", [1, 4])
    assert [[check.row["run_id"] for check in line.checks] for line in panel.lines] == [
        [2, 3],
        [5, 6],
    ]
    for line in panel.lines:
        for check in line.checks:
            assert check.verdict is not None
            assert check.verdict.p_value == 1, "the same images are broken"
            assert not line.doubts()


def test_a_variant_is_told_once_for_each_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Curves times runs would be 40,000 for 200 curves with a check each."""
    fill(tmp_path / "a.db")
    rows, details = read(tmp_path / "a.db")
    told: list[int] = []

    def variant(row: ResultRow) -> str:
        told.append(row["run_id"])
        return given(row)

    given = security._variant
    monkeypatch.setattr(security, "_variant", variant)
    panels(rows, details)
    curves = [row["run_id"] for row in rows if row["eps"] is None]
    checks = [row["run_id"] for row in rows if row["eps"] is not None]
    assert sorted(told) == sorted([*curves, *checks])


@pytest.mark.parametrize(("stronger", "significant"), [(4, False), (5, True)])
def test_a_stronger_check_is_told_once_it_is_significant(
    tmp_path: Path, stronger: int, significant: bool
) -> None:
    """2^-4 = 0.0625 and 2^-5 = 0.03125 around 5 %."""
    fill(tmp_path / "a.db", stronger=stronger)
    line = panel_of(tmp_path / "a.db").lines[0]
    (first, _) = line.checks
    assert first.verdict is not None
    assert first.verdict.p_value == 0.5**stronger
    assert first.too_optimistic is significant
    assert bool(line.doubts()) is significant
    rows, details = read(tmp_path / "a.db")
    figure = draw_chart("security", rows, details)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("too optimistic" in text for text in told) is significant


def test_runs_on_other_images_are_drawn_but_not_tested(tmp_path: Path) -> None:
    fill(tmp_path / "a.db", stronger=9)
    with Store(tmp_path / "a.db") as store:
        store.db.execute('UPDATE samples SET "index" = "index" + 1 WHERE run_id = 2')
        store.db.conn.commit()
    line = panel_of(tmp_path / "a.db").lines[0]
    assert [check.verdict is None for check in line.checks] == [True, False]


def test_lines_bands_points_and_hollow_marks_are_drawn(tmp_path: Path) -> None:
    fill(tmp_path / "a.db")
    rows, details = read(tmp_path / "a.db")
    (axes,) = draw_chart("security", rows, details).axes
    panel = panel_of(tmp_path / "a.db")
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert len(lines) == len(axes.collections) - 4 == 2, "a band per curve, a bar per check"
    for drawn, line in zip(lines, panel.lines, strict=True):
        assert list(drawn.get_ydata()) == list(100 * line.curve.robust_accuracy)
    assert [to_hex(line.get_markerfacecolor()) for line in lines][1] == "#ffffff", "flagged"
    assert lines[0].get_marker() == "None"


def test_norms_do_not_share_an_axis(tmp_path: Path) -> None:
    attacks = [{"name": "fmn", "norm": "L2"}, {"name": "fmn", "norm": "Linf"}]
    fill(tmp_path / "a.db", study={**STUDY, "attack": attacks})
    rows, details = read(tmp_path / "a.db")
    figure = draw_chart("security", rows, details)
    assert [axes.get_xlabel() for axes in figure.axes] == ["eps (L2)", "eps (Linf)"]
    by_norm = {panel.norm: panel.lines[0].found for panel in panels(rows, details)}
    assert by_norm["Linf"] == pytest.approx(by_norm["L2"] / 5)


def test_without_distances_the_sentence_names_what_to_add(tmp_path: Path) -> None:
    filled_store.fill(tmp_path / "a.db")
    rows, details = read(tmp_path / "a.db")
    assert needed(rows) == []
    with pytest.raises(CrumpleError, match=r"no chosen run has distances.*fmn"):
        draw_chart("security", rows, details)


def test_a_matrix_holds_the_runs_that_share_pairs(tmp_path: Path) -> None:
    ids = filled_store.fill(tmp_path / "a.db")
    fooled = add_transfers(tmp_path / "a.db", [ids[0::2], ids[1::2]])
    rows, details = read(tmp_path / "a.db", "transfer")
    with Store(tmp_path / "a.db", readonly=True) as store:
        found = matrices(store.transfers())
    assert [matrix.title for matrix in found] == ["fgsm 0.15", "pgd-4 0.15"]
    assert [list(matrix.runs) for matrix in found] == [ids[0::2], ids[1::2]]
    assert list(found[0].runs.values()) == ["none", "magnitude 50%", "ptq w2"]
    figure = draw_chart("transfer", rows, details)
    for axes, matrix in zip(figure.axes, found, strict=False):
        texts = iter(text.get_text() for text in axes.texts)
        for source in matrix.runs:
            for target in matrix.runs:
                rate = f"{100 * fooled[source, target] / 20:.0f}"
                flagged = {source, target} & {row["run_id"] for row in rows if row["flags"]}
                assert next(texts) == (f"({rate})" if flagged else rate)
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert [frame.get_xy() for frame in frames] == [(0, 0), (1, 1), (2, 2)]


def test_a_matrix_with_holes_and_chosen_runs(tmp_path: Path) -> None:
    ids = filled_store.fill(tmp_path / "a.db")
    add_transfers(tmp_path / "a.db", [ids[0:4:2], ids[2:6:2]])
    rows, details = read(tmp_path / "a.db", "transfer")
    texts = [text.get_text() for text in draw_chart("transfer", rows, details).axes[0].texts]
    assert texts.count("-") == 2, "the pair that was never judged, both ways"
    one = [row for row in rows if row["run_id"] in ids[:3]]
    assert len(draw_chart("transfer", one, details).axes[0].texts) == 4
    with pytest.raises(CrumpleError, match="no pair of chosen runs"):
        draw_chart("transfer", [rows[1]], details)


def test_transfer_text_for_people_and_programs(tmp_path: Path) -> None:
    ids = filled_store.fill(tmp_path / "a.db")
    fooled = add_transfers(tmp_path / "a.db", [ids[0::2]])
    with Store(tmp_path / "a.db") as store:
        store.db.execute(
            "UPDATE transfers SET status = 'failed', message = 'Broken disk.', n = NULL, "
            "fooled = NULL, kept = NULL WHERE source_run = 1 AND target_run = 3"
        )
        store.db.conn.commit()
        rows = store.transfers()
    read_back = list(csv.DictReader(io.StringIO(transfers_text(rows, "csv"))))
    assert tuple(read_back[0]) == TRANSFER_COLUMNS
    for row in read_back:
        if row["status"] == "finished":
            pair = int(row["source_run"]), int(row["target_run"])
            assert float(row["transfer_rate"]) == fooled[pair] / 20
            assert float(row["accuracy"]) == pytest.approx(1 - (fooled[pair] + 5) / 30)
    promised = [{name: row[name] for name in TRANSFER_COLUMNS} for row in rows]  # type: ignore[literal-required]
    assert json.loads(transfers_text(rows, "json")) == promised
    table = transfers_text(rows, "table")
    assert "Broken disk." in table
    assert "100.0 [83.9, 100.0]" in table, "Wilson interval of 20 of 20"
    with pytest.raises(SpecError, match="'xml'"):
        transfers_text(rows, "xml")


def test_affine_distances_have_clean_mistakes() -> None:
    assert 0 < (affine_distances() == 0).sum() < N


def test_pairs_are_asked_for_by_their_runs_and_have_the_intervals_of_each(tmp_path: Path) -> None:
    ids = fill(tmp_path / "a.db")
    fooled = add_transfers(tmp_path / "a.db", [ids[0::2], ids[1::2]])
    some = ids[0:3]
    with Store(tmp_path / "a.db") as store:
        every = {(row["source_run"], row["target_run"]): row for row in store.transfers()}
        found = store.transfers(among=iter(some))
        assert store.transfers(among=[]) == []
    assert every.keys() == fooled.keys()
    wanted = {pair for pair in every if set(pair) <= set(some)}
    assert {(row["source_run"], row["target_run"]) for row in found} == wanted != every.keys()
    for row in found:
        assert row == every[row["source_run"], row["target_run"]]
        low, high = wilson(row["fooled"], row["n"])
        assert (row["rate_low"], row["rate_high"]) == pytest.approx((float(low), float(high)))
