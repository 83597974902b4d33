"""The Inspector page: the images a run kept, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.errors import CrumpleError
from engine.report.evidence import Summary, lights, summarise
from engine.store import RunRow, Store
from engine.store.columns import TableRow
from gui.base import file_dialogs
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.pages.base import Page
from gui.pages.inspector.example_panel import ExamplePanel
from gui.pages.inspector.example_sheet import MOST, save_sheet
from gui.pages.inspector.examples_model import ExamplesModel
from gui.pages.inspector.kept_images import ORDERS, SHOWN, KeptImages, figures, read_examples
from gui.pages.inspector.same_image import MOST_RUNS, SameImageTable
from gui.pages.inspector.thumbnails import STEPS, Thumbnails
from gui.widgets.empty_state import EmptyState
from gui.widgets.figures_panel import FiguresPanel
from gui.widgets.message_bar import Message
from gui.widgets.recent_runs import Mask, recent
from gui.widgets.run_box import RunBox
from gui.widgets.traffic_light import SummaryBanner

_FIGURES = {
    "verdict": "Verdict",
    "label": "True label",
    "clean": "Clean",
    "adversarial": "Adversarial",
    "linf": "Linf",
    "l2": "L2",
    "forwards": "Forwards",
    "backwards": "Backwards",
}
READING = "Reading…"


class InspectorPage(Page):
    """Clean, adversarial and perturbation of each kept image, with its verdict."""

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.run_id: int | None = None
        self._seen: int | None = None
        self._beside: dict[int, RunRow] = {}
        self._stamp: tuple[Any, ...] = ()
        self._trouble = ""
        self.examples: KeptImages | None = None
        self.place: int | None = None
        self.runs = RunBox(context.runs.table, self._offered, _title, self)
        self.shown, self.order = QComboBox(self), QComboBox(self)
        self.previous, self.next = QPushButton("Previous", self), QPushButton("Next", self)
        self.position = QLabel(self)
        self.sheet_button = QPushButton("Save sheet...", self)
        self.model = ExamplesModel(self)
        self.evidence = SummaryBanner(self)
        self.stack = QStackedWidget(self)
        self.content = QSplitter(Qt.Orientation.Horizontal, self.stack)
        self.grid_stack = QStackedWidget(self.content)
        self.list = Thumbnails(self.grid_stack)
        self.no_match = QLabel("No image of this kind.", self.grid_stack)
        right = QWidget(self.content)
        self.panel = ExamplePanel(right)
        self.figures = FiguresPanel(_FIGURES, parent=right)
        self.same = SameImageTable(context.results, right)
        self.no_images = EmptyState(
            "inspector",
            "",
            (("New study", lambda: self.go.emit("new", None)),),
            self.stack,
        )
        self.no_runs = EmptyState(
            "inspector",
            "No run has images yet. Finished runs keep examples that can be looked at here.",
            (("New study", lambda: self.go.emit("new", None)),),
            self.stack,
        )
        self.reading = EmptyState("inspector", READING, parent=self.stack)
        self._lay_out_content(right)
        self._build()
        self._connect()
        self._restore()

    # -- layout ----------------------------------------------------------------------------

    def _build(self) -> None:
        for box, name, hint in (
            (self.shown, "Images shown", "Which images are listed."),
            (
                self.order,
                "Order",
                "Confidence drop: most surely fooled first.",
            ),
        ):
            box.setAccessibleName(name)
            box.setToolTip(hint)
        for box, entries in ((self.shown, SHOWN), (self.order, ORDERS)):
            for key, (text, _) in entries.items():
                box.addItem(text, key)
        self.previous.setToolTip("The image before (Left or K).")
        self.next.setToolTip("The image after (Right or J).")
        self.position.setMinimumWidth(72)
        self.position.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.sheet_button.setToolTip(f"Write the next {MOST} images of the list as one PNG.")
        self.list.setModel(self.model)
        top = QHBoxLayout()
        top.addWidget(self.runs, 1)
        for widget in (self.shown, self.order, self.previous, self.position, self.next):
            top.addWidget(widget)
        top.addWidget(self.sheet_button)
        for part in (self.content, self.no_images, self.no_runs, self.reading):
            self.stack.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.evidence)
        layout.addWidget(self.stack, 1)

    def _lay_out_content(self, right: QWidget) -> None:
        self.no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_match.setProperty("role", "muted")
        self.grid_stack.addWidget(self.list)
        self.grid_stack.addWidget(self.no_match)
        heading = QLabel("Same image, same attack, other runs", right)
        heading.setProperty("role", "heading")
        others = QVBoxLayout()
        others.addWidget(heading)
        others.addWidget(self.same)
        lower = QHBoxLayout()
        lower.addWidget(self.figures, 1)
        lower.addLayout(others, 2)
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panel, 3)
        column.addLayout(lower, 2)
        self.content.setStretchFactor(1, 1)
        self.content.setSizes([280, 880])
        self.content.setChildrenCollapsible(False)

    def _connect(self) -> None:
        self.runs.chosen.connect(self._chosen)
        self.shown.currentIndexChanged.connect(self._list)
        self.order.currentIndexChanged.connect(self._list)
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.list.selectionModel().currentChanged.connect(self._on_current)
        self.sheet_button.clicked.connect(self.export)
        self.same.activated.connect(lambda index: self.open(self.same.run_of(index.row())))

    def _restore(self) -> None:
        settings = self.context.settings
        for name, box in (("shown", self.shown), ("order", self.order)):
            box.setCurrentIndex(max(0, box.findData(str(settings.value(f"inspector/{name}")))))
        self.panel.absolute.setChecked(str(settings.value("inspector/absolute")) == "true")

    def save_state(self) -> None:
        settings = self.context.settings
        settings.setValue("inspector/shown", self.shown.currentData())
        settings.setValue("inspector/order", self.order.currentData())
        absolute = "true" if self.panel.absolute.isChecked() else "false"
        settings.setValue("inspector/absolute", absolute)

    # -- which run -------------------------------------------------------------------------

    def refresh(self) -> None:
        if self.context.runs.version == self._seen:
            return
        self._seen = self.context.runs.version
        table = self.context.runs.table
        rows = table.rows(recent(table, self._offered()))
        self.runs.fill([(_title(row), row["run_id"]) for row in rows])
        if self._row() is None:
            self.run_id = rows[0]["run_id"] if rows else None
        self._show_run()

    def _offered(self) -> Mask:
        """Runs of which images have been judged."""
        table = self.context.runs.table
        return table.shown() & (table.numbers("done") > 0)

    def _row(self) -> TableRow | RunRow | None:
        if self.run_id is None:
            return None
        return self.context.runs.table.run(self.run_id) or self._beside.get(self.run_id)

    def _chosen(self, run_id: int) -> None:
        self.open(run_id)
        self.setFocus()  # out of the line, which would take the keys that step through images

    def open(self, payload: Any) -> None:
        """Show the images of a run by its id, staying on the same image if it has it."""
        if isinstance(payload, list | tuple):
            payload = payload[0] if payload else None
        if not isinstance(payload, int):
            return
        self.refresh()
        if self.context.runs.table.run(payload) is None:  # deleted, or not read yet
            self.context.results.ask(
                self, "run", lambda store: store.run(payload), self._show_beside, self._say
            )
        else:
            self.run_id = payload
            self._show_run()

    def _show_beside(self, row: RunRow) -> None:
        self.run_id = row["run_id"]
        self._beside[self.run_id] = row
        self._show_run()

    def _say(self, error: CrumpleError) -> None:
        self.notify.emit(Message.of(error))

    def _show_run(self) -> None:
        row = self._row()
        self.runs.show_run(self.run_id, row)
        stamp = (self.run_id, row["done"] if row else 0)
        if stamp != self._stamp:
            if stamp[0] != (self._stamp or (None,))[0]:
                self._show_examples(None)
                self.evidence.show_summary(Summary("unknown", READING) if row else None)
            self._stamp, self._trouble = stamp, ""
            if row:
                self._read(row["run_id"])
        if row:
            self._judge(row["run_id"])
        self._tell_what_is_there()
        self.same.set_runs(self._others(row))
        self.selected.emit(self.selected_runs())

    def _read(self, run_id: int) -> None:
        def refused(error: CrumpleError) -> None:  # a file of theirs is missing or damaged
            self._say(error)
            self._trouble = error.message
            self._show_examples(None)
            self._tell_what_is_there()

        def take(examples: KeptImages) -> None:
            if self.examples is None:
                self.panel.fit_amplification(examples)
            self._trouble = _why_none(self._row())
            self._show_examples(examples)
            self._tell_what_is_there()

        self.context.results.ask(
            self, "images", lambda store: read_examples(store, run_id), take, refused
        )

    def _show_examples(self, examples: KeptImages | None) -> None:
        self.examples = examples
        self._list()

    def _tell_what_is_there(self) -> None:
        """Images, or why there are none; a run of which nothing is known yet is being read."""
        shown: QWidget | None = self.stack.widget(0)
        if self._row() is None:
            shown = self.no_runs if self.context.runs.complete else self.reading
        elif not self.examples:
            shown = self.no_images if self._trouble else self.reading
        assert shown is not None
        self.no_images.text.setText(self._trouble)
        self.stack.setCurrentWidget(shown)
        for widget in (self.shown, self.order, self.sheet_button):
            widget.setEnabled(bool(self.examples))

    def _judge(self, run_id: int) -> None:
        """Say whether the number behind these images can be quoted."""

        def summary(store: Store) -> Summary:
            row = store.run(run_id)
            return summarise(row, lights(row, store.checks(run_id)))

        self.context.results.ask(self, "evidence", summary, self.evidence.show_summary)

    def _others(self, row: TableRow | RunRow | None) -> list[TableRow]:
        if row is None:
            return []
        table = self.context.runs.table
        same = table.like(row, ("study", "dataset", "attack"))
        if len(same):
            same &= table.where(("status",), lambda other: other["status"] == "finished")
            same[table.places([row["run_id"]])] = False
        return table.rows(np.flatnonzero(same)[:MOST_RUNS])

    def selected_runs(self) -> list[int]:
        return [] if self.run_id is None else [self.run_id]

    # -- which image -----------------------------------------------------------------------

    def _list(self, *_: object) -> None:
        """List the images of the chosen kind in the chosen order; stay on the same one."""
        before = self.place
        examples = self.examples
        places = (
            examples.places(self.shown.currentData(), self.order.currentData()) if examples else []
        )
        self.model.show_examples(examples, places)
        self.grid_stack.setCurrentWidget(self.list if places else self.no_match)
        row = max(0, self.model.row_of(before)) if before is not None else 0
        if places:
            self.list.setCurrentIndex(self.model.index(row, 0))
        else:
            self._show(None)

    def _on_current(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            self._show(self.model.place(current.row()))

    def _show(self, index: int | None) -> None:
        rows = self.model.rowCount()
        if index is not None:
            self.place = index
        row = self.list.currentIndex().row() if index is not None else -1
        self.position.setText(f"{row + 1} of {rows}")
        self.previous.setEnabled(row > 0)
        self.next.setEnabled(0 <= row < rows - 1)
        self.panel.setEnabled(index is not None)
        if index is not None and self.examples is not None:
            self.panel.show_example(self.examples, index)
            self.figures.tell(figures(self.examples, index))
            self.same.show_image(self.examples, index)

    def step(self, by: int) -> None:
        """Go to the next or the previous image of the list."""
        row = self.list.currentIndex().row() + by
        if 0 <= row < self.model.rowCount():
            self.list.setCurrentIndex(self.model.index(row, 0))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        by = STEPS.get(Qt.Key(event.key()))
        if by is None:
            super().keyPressEvent(event)
        else:
            self.step(by)

    # -- taking it elsewhere ---------------------------------------------------------------

    def export(self) -> None:
        row = self.list.currentIndex().row()
        if not self.examples or row < 0:
            return
        name = f"crumple-run-{self.examples.run_id}.png"
        path = file_dialogs.ask_save(self, "Save a sheet of images", "PNG (*.png)", name)
        if path is None:
            return
        places = [self.model.place(line) for line in range(row, self.model.rowCount())]
        absolute = self.panel.absolute.isChecked()
        if save_sheet(path, self.examples, places, self.panel.factor, absolute=absolute):
            self.notify.emit(Message(f"The sheet was written to {path}.", level="ok"))
        else:
            hint = "Choose another folder."
            self.notify.emit(Message(f"{path} cannot be written.", hint, "error"))


def _title(row: TableRow | RunRow) -> str:
    return f"{row['run_id']}  {model_title(row['model'])}, {row['compression']}, {row['attack']}"


def _why_none(row: TableRow | RunRow | None) -> str:
    if row and row["status"] != "finished":
        return f"This run is {row['status']} and has no images yet."
    return "This run kept no images. Set keep_images above 0 in the study and run it again."
