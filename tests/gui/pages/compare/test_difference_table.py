"""What stands in the table of differences where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from engine.store import ResultRow
from gui.pages.compare.compared_runs import Baseline
from gui.pages.compare.difference_table import DifferenceTable


class Nobody(QObject):
    """A thread that is asked nothing here."""


@pytest.fixture
def table(qtbot: QtBot) -> DifferenceTable:
    results: Any = Nobody()
    made = DifferenceTable(results)
    qtbot.addWidget(made)
    return made


def row(run_id: int, compression: str, attack_seed: int | None = None) -> ResultRow:
    measured = {"robust_accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 100}
    names = {"model": "m", "compression": compression, "attack": "pgd"}
    made: Any = {"run_id": run_id, **names, **measured, "recipe": [], "spec": {}}
    return {**made, "spec": {"attack_seed": attack_seed}}


def reasons(table: DifferenceTable) -> list[str]:
    return [one.reason for one in table.model_.comparisons]


def test_another_baseline_is_told_of_lines_without_a_base(table: DifferenceTable) -> None:
    rows = [row(1, "none"), row(2, "ptq w2")]
    table.show_rows(rows, {})
    assert reasons(table) == ["baseline", "no baseline"]
    table.show_rows(rows, {}, Baseline("m", "ptq w2"))
    assert reasons(table) == ["no baseline", "baseline"]


def test_a_second_attack_is_called_so(table: DifferenceTable) -> None:
    table.show_rows([row(1, "none"), row(2, "none", 7)], {})
    assert reasons(table) == ["baseline", "second attack"]
