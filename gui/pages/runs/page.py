"""The Runs page: every result in a table that can be sorted, filtered, compared and exported."""

from __future__ import annotations

from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.errors import CrumpleError
from engine.report.tables import results_text
from engine.store import Store
from engine.store.columns import TableRow
from gui.base import file_dialogs, theme
from gui.base.model_names import titles
from gui.base.page_context import PageContext
from gui.base.undo_commands import DeleteRuns, TagRuns
from gui.base.words import run_count
from gui.pages.base import Page
from gui.pages.runs.run_columns import COLUMNS
from gui.pages.runs.runs_table import RunsTable
from gui.widgets.empty_state import EmptyState
from gui.widgets.filter_line import FilterLine
from gui.widgets.inputs import LineEdit, add_key
from gui.widgets.message_bar import Message
from gui.widgets.note_line import NoteLine
from gui.widgets.run_filter import FilterError, FilterText, parse
from gui.widgets.study_box import StudyBox

_FORMATS = {".csv": "csv", ".json": "json", ".tex": "latex", ".md": "markdown"}
_TITLES = {".csv": "CSV", ".json": "JSON", ".tex": "LaTeX", ".md": "Markdown"}


class RunsPage(Page):
    """The table of all results."""

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self._seen: tuple[int, str | None] | None = None
        self._wanted: list[int] = []  # runs to select, once they have been read
        self._done = ""  # what was written last, until another run is selected
        self.studies = StudyBox(self)
        self.filter_line = FilterLine("attack=pgd robust>30", self)
        self.columns_button = QPushButton("Columns", self)
        self.stack = QStackedWidget(self)
        self.table = RunsTable(context.runs.table, context.settings, self.stack)
        self.filter_note = NoteLine("Filter message", self)
        self.note = NoteLine("Runs message", self)
        self.tag_line = LineEdit(self)
        self.empty = EmptyState(
            "runs",
            "No runs yet. A run is one variant of a model under one attack.",
            (("New study", lambda: self.go.emit("new", None)),),
            self.stack,
        )
        self.no_match = EmptyState(
            "filter",
            "No run matches the filter and the study.",
            (("Show all runs", self.clear_filter),),
            self.stack,
        )
        self.reading = EmptyState("runs", "Reading the runs…", parent=self.stack)
        self._build()
        self._connect()
        self._restore()
        self._selection_changed()

    # -- layout ----------------------------------------------------------------------------

    def _build(self) -> None:
        columns = self.columns_button
        columns.setToolTip("Choose which columns are shown.")
        columns.clicked.connect(lambda: self._columns_menu(columns))
        top = QHBoxLayout()
        top.addWidget(self.studies, 1)
        top.addWidget(self.filter_line, 2)
        top.addWidget(columns)
        for widget in (self.table, self.empty, self.no_match, self.reading):
            self.stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.stack, 1)
        layout.addWidget(self.filter_note)  # below, where it moves nothing
        layout.addLayout(self._bottom())
        self.setFocusProxy(self.table)

    def _bottom(self) -> QHBoxLayout:
        self.tag_line.setAccessibleName("Tags of the selected runs")
        self.tag_line.setPlaceholderText("Tags, separated by commas; Enter to apply")
        self.tag_line.hide()
        self.buttons = {
            "compare": self._button("Compare", "Draw the selected runs.", self._compare),
            "inspect": self._button(
                "Inspect", "Look at the images of a run (Enter).", self._inspect
            ),
            "tag": self._button("Tag", "Give the selected runs tags (T).", self._start_tagging),
            "delete": self._button(
                "Delete", "Hide the selected runs (Del); can be undone.", self._hide
            ),
            "export": QPushButton("Export", self),
        }
        menu = QMenu(self)
        for suffix in _FORMATS:
            menu.addAction(f"{_TITLES[suffix]}...", partial(self._export, suffix))
        self.buttons["export"].setMenu(menu)
        self.buttons["export"].setToolTip("Write the selected runs, or all that are shown.")
        bottom = QHBoxLayout()
        bottom.addWidget(self.note, 1)
        bottom.addWidget(self.tag_line, 1)
        bottom.addStretch(0)
        for button in self.buttons.values():
            bottom.addWidget(button)
        return bottom

    def _button(self, text: str, hint: str, slot: Any) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(hint)
        button.clicked.connect(slot)
        return button

    def _connect(self) -> None:
        self.studies.chosen.connect(self._study_chosen)
        self.filter_line.settled.connect(self._filter)
        self.table.selectionModel().selectionChanged.connect(self._selection_changed)
        self.table.activated.connect(lambda _: self._inspect())
        self.table.horizontalHeader().customContextMenuRequested.connect(self._header_menu)
        self.tag_line.returnPressed.connect(self._tag)
        theme.current().changed.connect(self.table.viewport().update)
        add_key(self.table, Qt.Key.Key_Delete, self._hide)
        add_key(self.table, QKeySequence.StandardKey.Copy, self.copy)
        add_key(self.table, Qt.Key.Key_T, self._start_tagging)
        add_key(self.tag_line, Qt.Key.Key_Escape, self._stop_tagging)

    # -- state -----------------------------------------------------------------------------

    def _restore(self) -> None:
        settings = self.context.settings
        self.studies.read(self.context.store)
        self.studies.choose(str(settings.value("runs/study") or "") or None)
        self.filter_line.set_now(str(settings.value("runs/filter") or ""))

    def save_state(self) -> None:
        settings = self.context.settings
        settings.setValue("runs/study", self.studies.study() or "")
        settings.setValue("runs/filter", self.filter_line.text())
        self.table.save_state()

    def refresh(self) -> None:
        self.context.runs.refresh()
        state = (self.context.runs.version, self.studies.study())
        # Of the chunks of the first reading one shows that it goes on, and the last one all.
        chunk = len(self.context.runs.table) > 0 and not self.context.runs.complete
        if state != self._seen and not (chunk and self.table.runs.rowCount()):
            self._seen = state
            self._arrange()

    def _arrange(self) -> None:
        self.studies.read(self.context.store)
        self.table.runs.set_study(self.studies.study())
        self.table.runs.arrange()
        if self._wanted:
            self.table.select(self._wanted)
        if self.context.runs.complete:
            self._wanted = []
        self._show_table_or_reason()
        self._selection_changed()

    def _show_table_or_reason(self) -> None:
        runs, shown = len(self.context.runs.table), self.table.runs.rowCount()
        hidden = bool(self.filter_line.text().strip()) or self.studies.study() is not None
        reason = self.no_match if runs or hidden else self.empty
        reason = reason if self.context.runs.complete else self.reading
        self.stack.setCurrentWidget(self.table if shown else reason)
        self.buttons["export"].setEnabled(shown > 0)

    def open(self, payload: Any) -> None:
        """Show a study by name, what a filter lets through, or select runs by id."""
        if isinstance(payload, str):
            self.studies.read(self.context.store)
            self.studies.choose(payload)
            self.refresh()
        elif isinstance(payload, FilterText):
            self.studies.choose(None)
            self.refresh()
            self.filter_line.set_now(payload.text)
        elif isinstance(payload, list | tuple):
            self._wanted = [int(run_id) for run_id in payload]
            self.clear_filter()
            self._arrange()

    # -- choosing what is shown ------------------------------------------------------------

    def _study_chosen(self) -> None:
        self.refresh()

    def clear_filter(self) -> None:
        """Show all runs of all studies."""
        self.studies.choose(None)
        self.filter_line.set_now("")
        self.refresh()

    def _filter(self, text: str) -> None:
        try:
            run_filter = parse(text)
        except FilterError as error:
            self.filter_note.tell(str(error), "error")
            self._mark_filter(True)
            return
        self.filter_note.tell("")
        self._mark_filter(False)
        self.table.runs.set_filter(run_filter)
        self._arrange()

    def _mark_filter(self, invalid: bool) -> None:
        if self.filter_line.property("invalid") != invalid:
            self.filter_line.setProperty("invalid", invalid)
            self.filter_line.style().unpolish(self.filter_line)
            self.filter_line.style().polish(self.filter_line)

    def focus_filter(self) -> None:
        self.filter_line.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter_line.selectAll()

    def _header_menu(self, point: QPoint) -> None:
        self._popup_columns(self.table.horizontalHeader().mapToGlobal(point))

    def _columns_menu(self, button: QPushButton) -> None:
        self._popup_columns(button.mapToGlobal(QPoint(0, button.height())))

    def _popup_columns(self, where: QPoint) -> None:
        menu = self.columns_menu()
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(where)

    def columns_menu(self) -> QMenu:
        """A menu with a tick per column."""
        menu = QMenu(self)
        for number, column in enumerate(COLUMNS):
            action = menu.addAction(column.title)
            action.setCheckable(True)
            action.setChecked(not self.table.isColumnHidden(number))
            action.setToolTip(column.hint)
            action.toggled.connect(partial(self.table.show_column, number))
        menu.addSeparator()
        menu.addAction("Usual columns", self.table.usual_columns)
        return menu

    # -- what the selection can do ---------------------------------------------------------

    def selected_runs(self) -> list[int]:
        return self.table.selected_ids()

    def _selected(self) -> list[TableRow]:
        return self.context.runs.table.rows(self.table.selected_places())

    def _selection_changed(self, *_: object) -> None:
        run_ids = self.selected_runs()
        for name in ("inspect", "tag", "delete"):
            self.buttons[name].setEnabled(bool(run_ids))
        shown = self.table.runs.rowCount()
        self.buttons["compare"].setEnabled(shown > 0)
        text = f"{run_count(len(run_ids))} of {shown:,} selected" if run_ids else f"{shown:,} shown"
        text += "" if self.context.runs.complete else ", reading more…"
        if run_ids:
            self._done = ""
        self.note.tell(self._done or (text if shown else ""))
        if not run_ids:
            self._stop_tagging()
        self.selected.emit(run_ids)

    def _compare(self) -> None:
        self.go.emit("compare", self.selected_runs() or self.table.shown_ids())

    def _inspect(self) -> None:
        current = self.table.currentIndex()
        run_ids = self.selected_runs()
        if current.isValid() and self.table.selectionModel().isRowSelected(current.row()):
            self.go.emit("inspector", self.table.runs.row(current.row())["run_id"])
        elif run_ids:
            self.go.emit("inspector", run_ids[0])

    def _start_tagging(self) -> None:
        rows = self._selected()
        if not rows:
            return
        tags = {row["tags"] for row in rows}
        self.tag_line.setText(tags.pop() if len(tags) == 1 else "")
        self.note.hide()
        self.tag_line.show()
        self.tag_line.setFocus(Qt.FocusReason.OtherFocusReason)
        self.tag_line.selectAll()

    def _stop_tagging(self) -> None:
        if not self.tag_line.isHidden():
            self.tag_line.hide()
            self.note.show()
            self.table.setFocus(Qt.FocusReason.OtherFocusReason)

    def _tag(self) -> None:
        before = {row["run_id"]: row["tags"] for row in self._selected()}
        parts = (tag.strip() for tag in self.tag_line.text().split(","))
        tags = ", ".join(dict.fromkeys(tag for tag in parts if tag))
        self._stop_tagging()
        self.change.emit(TagRuns(self.context.results, before, tags, self._written))

    def _hide(self) -> None:
        rows = self._selected()
        if any(row["status"] == "running" for row in rows):
            self.note.tell("A running run cannot be deleted; stop it first.", "warning")
            return
        if rows:
            run_ids = [row["run_id"] for row in rows]
            text = f"{run_count(len(run_ids))} deleted; Ctrl+Z brings back."

            def written(deleted: bool) -> None:
                self._written(text if deleted else "")

            self.change.emit(DeleteRuns(self.context.results, run_ids, written))

    def _written(self, done: str = "") -> None:
        self._done = done
        self.context.client.rows_changed.emit()

    # -- taking it elsewhere ---------------------------------------------------------------

    def copy(self) -> None:
        """Copy the selected rows, as shown, as tab-separated text."""
        QGuiApplication.clipboard().setText(self.table.as_tsv())
        self.note.tell(f"{run_count(len(self.selected_runs()))} copied.")

    def export(self) -> None:
        self.buttons["export"].showMenu()

    def _export(self, suffix: str) -> None:
        title = _TITLES[suffix]
        kinds, name = f"{title} (*{suffix})", f"crumple-results{suffix}"
        path = file_dialogs.ask_save(self, f"Export results as {title}", kinds, name)
        if path is None:
            return
        selected = self.table.selected_places()
        places = selected if len(selected) else self.table.runs.order
        rows, words = self.context.runs.table.take(places), titles()

        def write(_: Store) -> None:
            try:
                path.write_text(results_text(rows(), _FORMATS[suffix], words), "utf-8")
            except OSError as error:
                reason = f"{path} cannot be written: {error.strerror}."
                raise CrumpleError(reason, "Choose another folder.") from None

        text = f"{run_count(len(places))} written to {path}."
        self.context.results.ask(
            self,
            f"export {path}",
            write,
            lambda _: self.notify.emit(Message(text, level="ok")),
            lambda error: self.notify.emit(Message.of(error)),
        )
