"""The Live page: the curves of a run while they grow, of its training and of its attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine import events
from engine.report.cells import csv_text
from engine.report.naming import shortened
from engine.store import QueueRow
from gui.base import file_dialogs
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.bridge.store_version import Version, store_version
from gui.pages.base import Page
from gui.pages.live.board import TRAINING, LiveBoard
from gui.pages.live.charts import Earlier
from gui.pages.live.state import LiveState, curve_points, stored_state
from gui.pages.live.training_state import (
    COLUMNS,
    Points,
    Training,
    expected_epochs,
    of_records,
)
from gui.widgets.empty_state import EmptyState
from gui.widgets.fill_box import fill_box
from gui.widgets.message_bar import Message

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
        self._before: dict[int, Training] = {}
        self._asked: dict[int, bool] = {}
        self._stored: dict[int, tuple[str, LiveState]] = {}
        self._curves: dict[int, Points] = {}
        self._rows: dict[int, QueueRow] = {}
        self._seen: Version | None = None
        self._dirty = True
        self.timer = QTimer(self)
        self.timer.setInterval(FRAME_MS)
        self.timer.timeout.connect(self.draw)
        self.runs = QComboBox()
        self.follow = QCheckBox("Follow newest")
        self.pause = QPushButton("Pause drawing")
        self.export_button = QPushButton("Export")
        self.board = LiveBoard()
        self.curve, self.figures = self.board.curve, self.board.figures
        self.history, self.loss = self.board.history, self.board.loss
        self.empty = EmptyState(
            "live",
            "Nothing has run yet. Start a study and its attack curves are drawn here.",
            (("New study", lambda: self.go.emit("new", None)),),
        )
        self.planning = EmptyState("live", "")
        self.stack = QStackedWidget()
        self._build()
        self._connect()
        self.follow.setChecked(str(context.settings.value("live/follow", "true")) == "true")
        for event in context.client.told:
            self._take(event)

    def _build(self) -> None:
        self.runs.setAccessibleName("Run")
        self.runs.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
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
        self.runs.activated.connect(self._chosen)
        self.follow.toggled.connect(self._follow_toggled)
        self.pause.toggled.connect(self._mark)
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
            self._before.pop(event.run_id, None)
            self._trained.pop(event.run_id, None)
        if isinstance(event, events.RunFinished):
            self._states.pop(event.run_id, None)
        else:
            self._states[event.run_id] = before.after(event)
        if isinstance(event, events.RunFailed | events.RunCancelled):
            self._trained[event.run_id] = before.training.rested()

    def refresh(self) -> None:
        version = store_version(self.context.store)
        if version == self._seen:
            return
        self._seen = version
        states = self._states  # a run that was stopped waits again, and stays in sight
        rows = [
            row
            for row in self.context.store.queue()
            if row["status"] != "waiting" or row["run_id"] in states
        ]
        self._rows = {row["run_id"]: row for row in rows}
        self._forget_what_ended()
        self._fill(sorted(rows, key=lambda row: row["started"] or "", reverse=True))
        self._show_board_or_why_not()
        for widget in (self.runs, self.pause, self.export_button):
            widget.setEnabled(bool(rows))
        self._mark()

    def _show_board_or_why_not(self) -> None:
        """Before the first event of a new run, say what is done meanwhile."""
        plan = self.context.client.planning.words()
        if plan and not self.context.client.busy and self.follow.isChecked():
            self.planning.text.setText(f"{plan[0].upper()}{plan[1:]}…")
            self.stack.setCurrentWidget(self.planning)
        else:
            self.stack.setCurrentWidget(self.board if self._rows else self.empty)

    def _forget_what_ended(self) -> None:
        """Drop live states whose runs are complete: the store knows them better."""
        for run_id in list(self._states):
            row = self._rows.get(run_id)
            ended = row is not None and row["status"] not in ("running", "waiting")
            if run_id != self.context.client.running and ended:
                del self._states[run_id]

    def _fill(self, rows: list[QueueRow]) -> None:
        short = shortened(rows)
        titles = [(_run_title(row, short[row["compression"]]), row["run_id"]) for row in rows]
        fill_box(self.runs, titles)
        if self.follow.isChecked() or self.run_id not in self._rows:
            self.run_id = self.context.client.running or (rows[0]["run_id"] if rows else None)
        self.runs.setCurrentIndex(self.runs.findData(self.run_id))

    def open(self, payload: Any) -> None:
        """Show a run by its id."""
        if isinstance(payload, int):
            self.follow.setChecked(payload == self.context.client.running)
            self._show(payload)

    def _chosen(self, line: int) -> None:
        self.follow.setChecked(False)
        self._show(int(self.runs.itemData(line)))

    def _follow_toggled(self, follow: bool) -> None:
        self._show_board_or_why_not()
        if follow:
            self._seen = None
            self.refresh()

    def _show(self, run_id: int) -> None:
        self.run_id = run_id
        line = self.runs.findData(run_id)
        if line < 0:
            self._seen = None
            if self.isVisible():
                self.refresh()
        self.runs.setCurrentIndex(self.runs.findData(run_id))
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
        self._dirty = False
        state = self.state()
        row = self._rows.get(self.run_id or -1)
        self.curve.set_earlier(*self._names_and_curves(row))
        self.board.show_state(state, trains=bool(row and self._trains(row["run_id"])))

    def state(self) -> LiveState | None:
        """What is known of the run that is shown."""
        if self.run_id is None:
            return None
        if self.run_id in self._states:
            return self._with_earlier_steps(self._states[self.run_id])
        row = self._rows.get(self.run_id)
        if row is None:
            return None
        stamp = f"{row['status']} {row['finished']}"
        if self._stored.get(self.run_id, ("",))[0] != stamp:
            state = stored_state(self.context.store, self.run_id)
            training = self._trained.get(self.run_id, Training())
            state = replace(state, training=training.behind(state.training))
            self._stored[self.run_id] = stamp, state
        return self._stored[self.run_id][1]

    def _with_earlier_steps(self, state: LiveState) -> LiveState:
        """Steps that were found in the store tell nothing; their records do."""
        run_id = state.run_id
        if run_id not in self._before:
            known = run_id in self._rows
            records = self.context.store.step_records(run_id) if known else []
            self._before[run_id] = of_records(records)
        return replace(state, training=state.training.behind(self._before[run_id]))

    def _trains(self, run_id: int) -> bool:
        if run_id not in self._asked:
            recipe = self.context.store.run(run_id)["spec"]["recipe"]
            self._asked[run_id] = expected_epochs(recipe) > 0
        return self._asked[run_id]

    def _names_and_curves(self, row: QueueRow | None) -> tuple[str, list[Earlier]]:
        """The name of a run; finished ones like it but for compression, the base model first."""
        if row is None:
            return "", []
        same = [
            other
            for other in self._rows.values()
            if other["status"] == "finished"
            and other["run_id"] != row["run_id"]
            and all(other[key] == row[key] for key in ("study", "model", "attack"))
        ]
        same.sort(key=lambda other: (other["compression"] != "none", -other["run_id"]))
        shown = same[:_MOST_EARLIER]
        self._read_one_curve([other["run_id"] for other in shown])
        short = shortened([row, *shown])
        drawn = [other for other in shown if other["run_id"] in self._curves]
        return short[str(row["compression"])], [self._curve_of(other, short) for other in drawn]

    def _read_one_curve(self, run_ids: list[int]) -> None:
        """Read the next curve that is missing: one a frame, so that no frame takes long."""
        missing = [run_id for run_id in run_ids if run_id not in self._curves]
        if missing:
            points = self.context.store.curve(missing[0])
            self._curves[missing[0]] = curve_points(points)
        self._dirty = self._dirty or len(missing) > 1

    def _curve_of(self, row: QueueRow, short: Mapping[str, str]) -> Earlier:
        run_id = row["run_id"]
        baseline = row["compression"] == "none"
        name = "none (baseline)" if baseline else short[str(row["compression"])]
        return Earlier(name, self._curves[run_id], baseline)

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


def _run_title(row: QueueRow, compression: str) -> str:
    name = f"{row['run_id']}  {model_title(row['model'])}, {compression}, {row['attack']}"
    return name if row["status"] == "finished" else f"{name}  ({row['status']})"
