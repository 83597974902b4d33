"""The choice of a run: those of late in a list, all others by typing what they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QStringListModel, Signal
from PySide6.QtWidgets import QComboBox, QCompleter, QLineEdit, QWidget

from engine.store.columns import RunRow, TableRow
from engine.store.run_table import RunTable
from gui.widgets.fill_box import fill_box
from gui.widgets.recent_runs import Mask, found

Row = TableRow | RunRow
Title = Callable[[Any], str]


class RunBox(QComboBox):
    """Lists some runs, and finds any by a filter line or its number.

    Args:
        table: all runs.
        offered: (n,) which runs of the table may be chosen.
        title: what a run is called in the list.

    Signals:
        chosen: the person chose this run.
    """

    chosen = Signal(int)

    def __init__(
        self,
        table: RunTable,
        offered: Callable[[], Mask],
        title: Title,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._table, self._offered, self._title = table, offered, title
        self._found: list[int] = []
        self._typed: str | None = None
        self._texts = QStringListModel(self)
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setAccessibleName("Run")
        self.setToolTip("The runs of late; type to find any other, as in the filter of Runs.")
        completer = QCompleter(self._texts, self)
        completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self.line.setCompleter(completer)
        self.line.setPlaceholderText("Find a run")
        self.line.setAccessibleName("Find a run")
        completer.activated.connect(self._take_text)
        self.line.textEdited.connect(self._search)
        self.line.returnPressed.connect(self._take_first)
        self.line.editingFinished.connect(self._show_current)
        self.activated.connect(lambda line: self.chosen.emit(self.itemData(line)))

    @property
    def line(self) -> QLineEdit:
        """Where one types."""
        line = self.lineEdit()
        assert line is not None
        return line

    def fill(self, entries: Sequence[tuple[str, int]]) -> None:
        """List these runs, by title and id; what is being typed stays."""
        fill_box(self, entries)
        if self._typed is not None:
            self.line.setText(self._typed)

    def show_run(self, run_id: int | None, row: Row | None = None) -> None:
        """Show a run as the chosen one, without telling anybody; list it if it is not listed.

        Args:
            row: of a run that is not in the table.
        """
        if self.findData(run_id) < 0 and run_id is not None:
            row = row or self._table.run(run_id)
            if row is not None:
                self.insertItem(0, self._title(row), run_id)
        self.setCurrentIndex(self.findData(run_id))
        if self._typed is None:
            self._show_current()
        else:
            self.line.setText(self._typed)

    def _search(self, text: str) -> None:
        self._typed = text
        wanted = found(self._table, self._offered(), text) if text.strip() else ()
        rows = self._table.rows(wanted) if len(wanted) else []
        self._found = [row["run_id"] for row in rows]
        self._texts.setStringList([self._title(row) for row in rows])

    def _take_first(self) -> None:
        if self._typed is not None and self._found:
            self._take(0)

    def _take_text(self, text: str) -> None:
        self._take(self._texts.stringList().index(text))

    def _take(self, number: int) -> None:
        run_id = self._found[number]
        self._typed = None
        self.show_run(run_id)
        self.chosen.emit(run_id)

    def _show_current(self) -> None:
        self._typed = None
        self.line.setText(self.itemText(self.currentIndex()))
        self.line.setCursorPosition(0)
