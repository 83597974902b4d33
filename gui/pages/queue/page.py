"""The Queue page: what runs, what waits, what failed and why."""

from __future__ import annotations

from collections.abc import Callable, Collection

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine import events
from engine.host import paths
from engine.store.columns import TableRow
from gui.base import theme
from gui.base.page_context import PageContext
from gui.pages.base import Page
from gui.pages.queue.progress_delegate import ProgressDelegate
from gui.pages.queue.queue_model import NAME, PROGRESS, REASON, STUDY, QueueModel
from gui.widgets.empty_state import EmptyState
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import add_key
from gui.widgets.run_lines import RunView
from gui.widgets.tables import set_up_table

_HIDE = "queue/hide_finished"
_WIDTHS = (48, 264, 216, 112, 112, 88, 264)
_WORDS = ("running", "waiting", "failed", "cancelled", "finished")
_EMPTY = "No runs yet. A study puts its runs here."
_READING = "Reading the runs…"
_RETRIED = ("failed", "cancelled")
_CANCELLED = ("waiting", "running")
_MOVES = events.RunProgress | events.EpochFinished | events.CheckProgress | events.StageStarted
"""Events that move the bar of a run."""


class QueuePage(Page):
    """All runs in the order of the queue."""

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.model = QueueModel(context.runs.table, self)
        self._seen: int | None = None
        self._stack = QStackedWidget(self)
        self._filled = QWidget(self._stack)
        self.pause_button = TextButton("pause", "Pause", self._filled)
        self.cancel_button = TextButton("stop", "Cancel", self._filled)
        self.retry_button = TextButton("retry", "Retry", self._filled)
        self.front_button = TextButton("first", "To the front", self._filled)
        self.end_button = TextButton("last", "To the end", self._filled)
        self.hide_finished = QCheckBox("Hide finished", self._filled)
        self.summary = QLabel(self._filled)
        self.table = RunView(self.model, self._filled)
        self.empty = EmptyState(
            "queue",
            _EMPTY,
            (
                ("New study", lambda: self.go.emit("new", None)),
                ("Load the example", lambda: self.go.emit("new", paths.example_study())),
            ),
            self._stack,
        )
        self._set_up_table()
        self._lay_out()
        self._connect()
        self.refresh()

    def _set_up_table(self) -> None:
        table = self.table
        set_up_table(table, "Queue of runs", 30)
        table.setItemDelegateForColumn(PROGRESS, ProgressDelegate(table))
        header = table.horizontalHeader()
        for column, width in enumerate(_WIDTHS):
            table.setColumnWidth(column, width)
        for column in (NAME, REASON):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)

    def _lay_out(self) -> None:
        bar = QHBoxLayout()
        bar.setSpacing(8)
        for widget in (
            self.pause_button,
            self.cancel_button,
            self.retry_button,
            self.front_button,
            self.end_button,
            self.hide_finished,
        ):
            bar.addWidget(widget)
        bar.addWidget(self.summary, 1)
        self.summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.summary.setWordWrap(True)
        self.summary.setProperty("role", "muted")
        column = QVBoxLayout(self._filled)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(bar)
        column.addWidget(self.table, 1)
        self.setFocusProxy(self.table)
        self._stack.addWidget(self._filled)
        self._stack.addWidget(self.empty)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.addWidget(self._stack)
        self.cancel_button.setToolTip(
            "Cancel the selected runs (Delete); the queue goes on with the next."
        )
        self.retry_button.setToolTip("Queue the selected failed or cancelled runs again")
        self.hide_finished.setChecked(self.context.settings.value(_HIDE, "false") == "true")

    def _connect(self) -> None:
        client = self.context.client
        client.planned.connect(self._show_summary)
        self.pause_button.clicked.connect(lambda: client.pause(not client.paused))
        self.cancel_button.clicked.connect(self.cancel)
        self.retry_button.clicked.connect(self.retry)
        self.front_button.clicked.connect(lambda: self._move(to_front=True))
        self.end_button.clicked.connect(lambda: self._move(to_front=False))
        self.hide_finished.toggled.connect(lambda _on: self._show())
        self.table.selectionModel().selectionChanged.connect(self._selection_changed)
        self.table.doubleClicked.connect(lambda index: self._open_run(self.model.row(index.row())))
        theme.current().changed.connect(self.table.viewport().update)
        add_key(self.table, QKeySequence.StandardKey.Delete, self.cancel)

    # -- what is shown ---------------------------------------------------------------------

    def refresh(self) -> None:
        self.context.runs.refresh()
        if self.context.runs.version != self._seen:
            self._seen = self.context.runs.version
            self._show()
        self._show_buttons()

    def _show_summary(self) -> None:
        plan = self.context.client.planning.words()
        counts = self.context.runs.table.counts("status")
        parts = [f"{counts[word]} {word}" for word in _WORDS if counts.get(word)]
        self.summary.setText(", ".join([*([f"{plan}…"] if plan else []), *parts]))
        empty = _EMPTY if self.context.runs.complete else _READING
        self.empty.text.setText(f"{plan[0].upper()}{plan[1:]}…" if plan else empty)

    def _show(self) -> None:
        table = self.context.runs.table
        self.model.arrange(
            self.context.client.progress, hide_finished=self.hide_finished.isChecked()
        )
        # Where nothing failed, its room is better spent on the names.
        messages = table.rows(table.distinct("message", self.model.order))
        self.table.setColumnHidden(REASON, not any(row["message"] for row in messages))
        self.table.setColumnHidden(STUDY, len(table.distinct("study", self.model.order)) < 2)
        self._stack.setCurrentIndex(0 if len(table) else 1)
        self._show_summary()

    def handle(self, event: events.Event) -> None:
        if isinstance(event, _MOVES) and self.isVisible():
            self.model.touch(event.run_id)

    def selected_runs(self) -> list[int]:
        return self.table.selected_ids()

    def _selected_in(self, states: Collection[str]) -> list[int]:
        """The selected runs that are in one of these states."""
        places = self.table.selected_places()
        among = self.model.table.where(("status",), lambda row: row["status"] in states)
        ids: list[int] = self.model.table.ids[places[among[places]]].tolist()
        return ids

    def _selection_changed(self) -> None:
        self._show_buttons()
        self.selected.emit(self.selected_runs())

    def _show_buttons(self) -> None:
        table, places = self.model.table, self.table.selected_places()
        states = {row["status"] for row in table.rows(table.distinct("status", places))}
        self.cancel_button.setEnabled(bool(states & set(_CANCELLED)))
        self.retry_button.setEnabled(bool(states & set(_RETRIED)))
        for button in (self.front_button, self.end_button):
            button.setEnabled("waiting" in states)
        paused = self.context.client.paused
        self.pause_button.setText("Resume" if paused else "Pause")
        self.pause_button.set_icon("play" if paused else "pause")
        self.pause_button.setToolTip(
            "Go on with the queue" if paused else "Finish the running run, then wait"
        )

    def _open_run(self, row: TableRow) -> None:
        page = {"running": "live", "finished": "inspector"}.get(row["status"])
        if page:
            self.go.emit(page, row["run_id"])

    # -- what can be done ------------------------------------------------------------------

    def cancel(self) -> None:
        """Cancel the selected runs that wait or run."""
        self._ask(self.context.client.cancel, _CANCELLED)

    def retry(self) -> None:
        """Queue the selected failed or cancelled runs again."""
        self._ask(self.context.client.retry, _RETRIED)

    def _ask(self, command: Callable[[list[int]], None], states: tuple[str, ...]) -> None:
        run_ids = self._selected_in(states)
        if run_ids:
            command(run_ids)

    def _move(self, *, to_front: bool) -> None:
        waiting = self._selected_in(("waiting",))
        if waiting:
            self.context.client.move(waiting, to_front)

    def save_state(self) -> None:
        hidden = "true" if self.hide_finished.isChecked() else "false"
        self.context.settings.setValue(_HIDE, hidden)
