"""The table of paired differences, cell by cell."""

from __future__ import annotations

from PySide6.QtCore import Qt

from engine.store import ResultRow
from gui.pages.compare.difference_model import COLUMNS, Comparison, DifferenceModel

COMPRESSION = [name for name, _ in COLUMNS].index("Compression")


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
