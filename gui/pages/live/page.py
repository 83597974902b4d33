"""The Live page: the curves of a run while they grow, of its training and of its attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine import events
from engine.report.cells import csv_text
from engine.report.naming import BASE, shortened
from engine.store.columns import TableRow
from gui.base import file_dialogs
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.pages.base import Page
from gui.pages.live.board import TRAINING, LiveBoard, ViewSwitch
from gui.pages.live.run_reader import READING, RunReader
from gui.pages.live.state import Earlier, LiveState
from gui.pages.live.training_state import (
    COLUMNS,
    NO_TRAINING,
    Points,
    Training,
)
from gui.widgets.empty_state import EmptyState
from gui.widgets.message_bar import Message
from gui.widgets.recent_runs import Mask, recent
from gui.widgets.run_box import RunBox

FRAME_MS = 70
_MOST_EARLIER = 8


class LivePage(Page):
    """Follows the run that is running, or shows an earlier one.

    Events only replace a state; a timer draws it, at most 15 times a second and only while
    the page is seen.
    """

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.run_id: int | None = None
        self._states: dict[int, LiveState] = {}
        self._trained: dict[int, Training] = {}
        self.reader = RunReader(context.results, self)
        self._neighbours: tuple[tuple[int, int | None], list[TableRow]] | None = None
        self._seen: tuple[int, int | None] | None = None
        self._dirty = True
        self.timer = QTimer(self)
        self.timer.setInterval(FRAME_MS)
        self.timer.timeout.connect(self.draw)
        self.runs = RunBox(context.runs.table, self._offered, _full_title, self)
        switch = ViewSwitch(self)
        self.follow = QCheckBox("Follow newest", self)
        self.pause = QPushButton("Pause drawing", self)
        self.export_button = QPushButton("Export", self)
        self.stack = QStackedWidget(self)
        self.board = LiveBoard(switch, self.stack)
        self.empty = EmptyState(
            "live",
            "Nothing has run yet. Start a study and its attack curves are drawn here.",
            (("New study", lambda: self.go.emit("new", None)),),
            self.stack,
        )
        self.planning = EmptyState("live", "", parent=self.stack)
        self._build()
        self._connect()
        self.follow.setChecked(str(context.settings.value("live/follow", "true")) == "true")
        for event in context.client.told:
            self._take(event)

    def _build(self) -> None:
        self.follow.setToolTip("Always show the run that started last.")
        self.pause.setCheckable(True)
        self.pause.setToolTip("Hold the charts still; the run goes on.")
        menu = QMenu(self)
        for kind in ("PNG", "SVG", "CSV"):
            menu.addAction(f"Curve as {kind}...", partial(self._export, kind))
        self.export_button.setMenu(menu)
        top = QHBoxLayout()
        for widget in (self.runs, self.board.switch, self.follow, self.pause, self.export_button):
            top.addWidget(widget, 1 if widget is self.runs else 0)
        self.stack.addWidget(self.board)
        self.stack.addWidget(self.empty)
        self.stack.addWidget(self.planning)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.stack, 1)

    def _connect(self) -> None:
        self.runs.chosen.connect(self._chosen)
        self.follow.toggled.connect(self._follow_toggled)
        self.pause.toggled.connect(self._mark)
        self.reader.arrived.connect(self._mark)
        self.board.switch.chosen.connect(self._mark)
        self.context.client.planned.connect(self._show_board_or_why_not)

    # -- following -------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        if not isinstance(event, events.RunEvent):
            return
        self._take(event)
        run_id = event.run_id
        if isinstance(event, events.RunStarted) and self.follow.isChecked():
            self._show(run_id)
            self._show_board_or_why_not()
        if run_id == self.run_id:
            self._mark()

    def _take(self, event: events.RunEvent) -> None:
        before = self._states.get(event.run_id) or LiveState(event.run_id)
        if isinstance(event, events.RunStarted):
            # A try before this one may have stored steps that it now finds.
            self.reader.forget_steps(event.run_id)
            self._trained.pop(event.run_id, None)
        if isinstance(event, events.RunFinished):
            self._states.pop(event.run_id, None)
        else:
            self._states[event.run_id] = before.after(event)
        if isinstance(event, events.RunFailed | events.RunCancelled):
            self._trained[event.run_id] = before.training.rested()

    def refresh(self) -> None:
        state = (self.context.runs.version, self.context.client.running)
        if state == self._seen:
            return
        self._seen = state
        table = self.context.runs.table
        rows = table.rows(recent(table, self._offered()))
        self._forget_what_ended()
        self._fill(rows)
        self._show_board_or_why_not()
        for widget in (self.runs, self.pause, self.export_button):
            widget.setEnabled(self.run_id is not None)
        self._mark()

    def _offered(self) -> Mask:
        """What began; a run that was stopped waits again, and stays in sight."""
        table = self.context.runs.table
        shown = table.shown()
        if not len(shown):
            return shown
        begun = table.where(("status",), lambda row: row["status"] != "waiting")
        begun[table.places(self._states)] = True
        return begun & shown

    def _row(self, run_id: int | None) -> TableRow | None:
        return None if run_id is None else self.context.runs.table.run(run_id)

    def _show_board_or_why_not(self) -> None:
        """Before the first event of a new run, say what is done meanwhile."""
        plan = self.context.client.planning.words()
        if plan and not self.context.client.busy and self.follow.isChecked():
            self.planning.text.setText(f"{plan[0].upper()}{plan[1:]}…")
            self.stack.setCurrentWidget(self.planning)
        elif self.run_id is None and not self.context.runs.complete:
            self.planning.text.setText(READING)
            self.stack.setCurrentWidget(self.planning)
        else:
            self.stack.setCurrentWidget(self.empty if self.run_id is None else self.board)
        self._mark()

    def _forget_what_ended(self) -> None:
        """Drop live states whose runs are complete: the store knows them better."""
        for run_id in list(self._states):
            row = self._row(run_id)
            ended = row is not None and row["status"] not in ("running", "waiting")
            if run_id != self.context.client.running and ended:
                del self._states[run_id]

    def _fill(self, rows: Sequence[TableRow]) -> None:
        short = shortened(rows)
        self.runs.fill(
            [(_run_title(row, short[row["compression"]]), row["run_id"]) for row in rows]
        )
        if self.follow.isChecked() or self._row(self.run_id) is None:
            self.run_id = self.context.client.running or (rows[0]["run_id"] if rows else None)
        self.runs.show_run(self.run_id)

    def open(self, payload: Any) -> None:
        """Show a run by its id."""
        if isinstance(payload, int):
            self.follow.setChecked(payload == self.context.client.running)
            self._show(payload)

    def _chosen(self, run_id: int) -> None:
        self.follow.setChecked(False)
        self._show(run_id)
        self.setFocus()  # out of the line, whose keys would be typed

    def _follow_toggled(self, follow: bool) -> None:
        self._show_board_or_why_not()
        if follow:
            self._seen = None
            self.refresh()

    def _show(self, run_id: int) -> None:
        self.run_id = run_id
        self._seen = None
        if self.isVisible():
            self.refresh()
        self.runs.show_run(run_id)
        self.selected.emit([run_id])
        self._mark()

    def selected_runs(self) -> list[int]:
        return [] if self.run_id is None else [self.run_id]

    # -- drawing ---------------------------------------------------------------------------

    def _mark(self, *_: object) -> None:
        self._dirty = True

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.timer.start()
        self._mark()

    def hideEvent(self, event: QHideEvent) -> None:
        self.timer.stop()
        super().hideEvent(event)

    def draw(self) -> None:
        """Draw the state if it changed."""
        if not self._dirty or self.pause.isChecked():
            return
        state = self.state()
        row = self._row(self.run_id)
        trains = bool(row and self.reader.trains(row["run_id"]))
        self._dirty = self.board.show_state(state, *self._names_and_curves(row), trains=trains)

    def state(self) -> LiveState | None:
        """What is known of the run that is shown."""
        if self.run_id is None:
            return None
        if self.run_id in self._states:
            state = self._states[self.run_id]
            if self._row(self.run_id) is None:
                return state
            # Steps that were found in the store tell nothing; their records do.
            return replace(state, training=state.training.behind(self.reader.steps(self.run_id)))
        row = self._row(self.run_id)
        if row is None:
            return None
        state = self.reader.state(row["run_id"], f"{row['status']} {row['finished']}")
        trained = self._trained.get(row["run_id"], NO_TRAINING)
        return replace(state, training=trained.behind(state.training))

    def _names_and_curves(self, row: TableRow | None) -> tuple[str, list[Earlier]]:
        """The name of a run; finished ones like it but for compression, the base model first."""
        if row is None:
            return "", []
        shown = self._like(row)
        curves = self.reader.curves([other["run_id"] for other in shown])
        short = shortened([row, *shown])
        drawn = [other for other in shown if other["run_id"] in curves]
        earlier = [_earlier(other, curves[other["run_id"]], short) for other in drawn]
        return short[str(row["compression"])], earlier

    def _like(self, row: TableRow) -> list[TableRow]:
        """Looked for when the runs changed, and not at every frame."""
        state = (self.context.runs.version, row["run_id"])
        if self._neighbours is None or self._neighbours[0] != state:
            table = self.context.runs.table
            same = table.like(row, ("study", "model", "attack"))
            same &= table.where(("status",), lambda other: other["status"] == "finished")
            same[table.places([row["run_id"]])] = False
            base = same & table.where(("compression",), lambda other: other["compression"] == BASE)
            places = [*np.flatnonzero(base)[::-1], *np.flatnonzero(same & ~base)[::-1]]
            self._neighbours = state, table.rows(places[:_MOST_EARLIER])
        return self._neighbours[1]

    # -- leaving ---------------------------------------------------------------------------

    def save_state(self) -> None:
        self.context.settings.setValue(
            "live/follow", "true" if self.follow.isChecked() else "false"
        )

    def export(self) -> None:
        self.export_button.showMenu()

    def _export(self, kind: str) -> None:
        suffix = f".{kind.lower()}"
        which = "-training" if self.board.view == TRAINING else ""
        name = f"crumple-run-{self.run_id}{which}{suffix}"
        path = file_dialogs.ask_save(self, "Export the curve", f"{kind} (*{suffix})", name)
        if path is None:
            return
        try:
            self.write_curve(path) if kind == "CSV" else self.board.shown.save(path)
        except OSError as error:
            reason = f"{path} cannot be written: {error.strerror}."
            self.notify.emit(Message(reason, "Choose another folder.", "error"))
        else:
            self.notify.emit(Message(f"The curve was written to {path}.", level="ok"))

    def write_curve(self, path: Path) -> None:
        """Write what is shown as CSV: step, robust_accuracy, loss; or the epochs of training."""
        state = self.state()
        if state is None:
            return
        if self.board.view == TRAINING:
            text = csv_text(COLUMNS, state.training.rows())
        else:
            loss = dict(state.loss)
            points = ((step, share, loss.get(step)) for step, share in state.curve)
            text = csv_text(("step", "robust_accuracy", "loss"), points)
        path.write_text(text, "utf-8")


def _earlier(row: TableRow, curve: Points, short: Mapping[str, str]) -> Earlier:
    baseline = row["compression"] == BASE
    name = "none (baseline)" if baseline else short[str(row["compression"])]
    return Earlier(name, curve, baseline)


def _full_title(row: TableRow) -> str:
    return _run_title(row, str(row["compression"]))


def _run_title(row: TableRow, compression: str) -> str:
    name = f"{row['run_id']}  {model_title(row['model'])}, {compression}, {row['attack']}"
    return name if row["status"] == "finished" else f"{name}  ({row['status']})"
