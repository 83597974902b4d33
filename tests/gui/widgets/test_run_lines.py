"""Lines of runs: those that changed are drawn anew, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engine.store import Writer
from engine.store.run_changes import read_changes
from engine.store.run_table import RunTable
from gui.pages.runs.runs_model import RunsModel
from gui.widgets import run_lines
from tests.helpers.fake_results import FakeResults


class Lines:
    """A model over a database, and what it told since it was asked last."""

    def __init__(self, writer: Writer) -> None:
        self.writer, self.table = writer, RunTable()
        self._told: list[object] = []
        self.model = RunsModel(self.table)
        self.model.dataChanged.connect(lambda top, end: self._told.append((top.row(), end.row())))
        self.model.modelReset.connect(lambda: self._told.append("reset"))
        self.bring_up()

    def bring_up(self) -> list[object]:
        for part in read_changes(self.writer.db, self.table.version):
            self.table.apply(part)
        self.model.arrange()
        told, self._told = self._told, []
        return told

    def line(self, run_id: int) -> int:
        line = self.model.line(run_id)
        assert line is not None
        return line

    def text(self, run_id: int, column: str) -> str:
        return str(self.model.row(self.line(run_id))[column])  # type: ignore[literal-required]


@pytest.fixture
def lines(results: FakeResults) -> Iterator[Lines]:
    with Writer(results.path) as writer:
        yield Lines(writer)


def test_the_line_of_a_changed_run_alone_is_drawn_anew(lines: Lines, results: FakeResults) -> None:
    line = lines.line(results.flagged)
    assert lines.text(results.flagged, "tags") == ""
    lines.writer.annotate(results.flagged, tags="odd")
    assert lines.bring_up() == [(line, line)]
    assert lines.text(results.flagged, "tags") == "odd"
    assert lines.bring_up() == []


def test_what_changed_while_others_were_shown_is_not_forgotten(
    lines: Lines, results: FakeResults
) -> None:
    """A table that is not arranged at every change draws all of them at the next time."""
    first, second = results.flagged, results.waiting
    for run_id in (first, second):
        lines.writer.annotate(run_id, note="seen")
        for part in read_changes(lines.writer.db, lines.table.version):
            lines.table.apply(part)
    at = sorted((lines.line(first), lines.line(second)))
    assert lines.bring_up() == [(line, line) for line in at]


def test_many_lines_are_told_of_at_once(
    lines: Lines, results: FakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lines, "_FEW", 2)
    for run_id in (1, 2, 3):
        lines.writer.annotate(run_id, tags="odd")
    assert lines.bring_up() == [(0, len(lines.model.order) - 1)]


def test_a_study_that_takes_runs_over_names_them(lines: Lines, results: FakeResults) -> None:
    lines.text(1, "study")
    with lines.writer.db.atomic():
        lines.writer.db.execute("UPDATE studies SET name = 'another', created = '2999'")
    told = lines.bring_up()
    assert lines.text(1, "study") == "another"
    assert told, "each of its runs is called otherwise"


def test_a_run_that_goes_leaves_the_lines(lines: Lines, results: FakeResults) -> None:
    lines.writer.set_deleted([results.failed])
    assert lines.bring_up() == ["reset"]
    assert lines.model.line(results.failed) is None
    assert np.count_nonzero(lines.table.shown()) == len(lines.model.order)
