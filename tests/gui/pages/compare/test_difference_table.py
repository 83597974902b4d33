"""What stands in the table of differences where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from engine.statistics.intervals import paired_difference
from engine.store import ResultRow
from gui.pages.compare.compared_runs import Baseline
from gui.pages.compare.difference_table import DifferenceTable


class Asked(QObject):
    """A thread that keeps what it is asked, until the test answers."""

    def __init__(self) -> None:
        super().__init__()
        self.take: Any = None

    def ask(self, _who: object, _what: str, _job: object, take: Any, _refuse: object) -> None:
        self.take = take


@pytest.fixture
def results() -> Asked:
    return Asked()


@pytest.fixture
def table(qtbot: QtBot, results: Any) -> DifferenceTable:
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


def test_while_a_difference_is_missing_none_is_corrected_for_the_others(
    table: DifferenceTable, results: Asked
) -> None:
    base, first, second = row(1, "none"), row(2, "ptq w2"), row(3, "ptq w4")
    won = paired_difference(np.arange(40) < 30, np.arange(40) < 10)
    rows = [base, first, second]
    table.show_rows(rows, {2: base, 3: base})
    results.take({(2, 1): won, (3, 1): won})
    assert [one.adjusted for one in table.differences()] == [2 * won.p_value] * 2
    later = row(4, "none")
    table.show_rows(rows, {2: base, 3: later})  # the base of one was measured anew
    assert table.differences() == []
    results.take({(3, 4): None})
    assert [one.adjusted for one in table.differences()] == [won.p_value]
