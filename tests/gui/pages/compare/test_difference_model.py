"""The table of paired differences, cell by cell."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from scipy import stats

from engine.report.differences import in_points
from engine.statistics.intervals import paired_difference
from engine.store import ResultRow
from gui.pages.compare.difference_model import COLUMNS, Comparison, DifferenceModel

COMPRESSION = [name for name, _ in COLUMNS].index("Compression")


def test_every_column_has_its_text() -> None:
    found = paired_difference([True] * 8 + [False] * 92, [False] * 98 + [True] * 2)
    facts = {"parameters": 1234, "clean_accuracy": 0.8, "robust_of_correct": 0.625}
    means = {"norm": "Linf", "avg_perturbation_linf": 0.0314}
    one: Any = {**row(7, "ard", "ard"), **facts, **means}
    model = DifferenceModel()
    model.set_comparisons([Comparison(one, row(3, "rslad", "rslad"), found)], {0: 0.2})
    cells = {name: model.index(0, place).data() for place, (name, _) in enumerate(COLUMNS)}
    low, high = stats.binomtest(50, 80).proportion_ci(method="wilson")
    assert cells == {
        "Run": "7", "Model": "m", "Compression": "ard", "Attack": "pgd",
        "Robust % [95 %]": "50.0 [40.0, 60.0]",
        "Difference [95 %]": in_points(found),
        "McNemar p": f"{stats.binomtest(2, 10).pvalue:.3f}", "p (Holm)": "0.200",
        "Only here": "8", "Only there": "2", "Beside": "3",
        "Of correct % [95 %]": f"62.5 [{100 * low:.1f}, {100 * high:.1f}]",
        "Perturbation": "0.0314 Linf", "Parameters": "1,234",
    }  # fmt: skip


def row(run_id: int, compression: str, brief: str) -> ResultRow:
    measured = {"robust_accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 100}
    names = {"model": "m", "compression": compression, "attack": "pgd"}
    recipe = [] if compression == "none" else [{"brief": brief}]
    return {"run_id": run_id, **names, **measured, "recipe": recipe}


def test_a_long_label_is_shown_short_unless_that_takes_it_for_another() -> None:
    labels = ["ard 10ep schedule=as-coded", "kd 10ep alpha=0.5", "kd 10ep alpha=0.9", "none"]
    model = DifferenceModel()
    briefs = ["ard 10ep", "kd 10ep", "kd 10ep", ""]
    told = enumerate(zip(labels, briefs, strict=True))
    model.set_comparisons([Comparison(row(n, label, brief)) for n, (label, brief) in told])
    cells = [model.index(place, COMPRESSION) for place in range(len(labels))]
    assert [cell.data() for cell in cells] == ["ard 10ep", *labels[1:]]
    assert [cell.data(Qt.ItemDataRole.ToolTipRole) for cell in cells] == labels
