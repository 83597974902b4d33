"""The Inspector page: the images a run kept, one by one."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QModelIndex, QSize, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.errors import StoreError
from engine.report.evidence import lights, summarise
from engine.store import QueueRow, RunRow
from gui.base import file_dialogs
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.bridge.store_version import Version, store_version
from gui.pages.base import Page
from gui.pages.inspector.example_panel import ExamplePanel
from gui.pages.inspector.example_sheet import MOST, save_sheet
from gui.pages.inspector.examples_model import GAP, SIDE, ExamplesModel
from gui.pages.inspector.kept_images import ORDERS, SHOWN, KeptImages, figures, read_examples
from gui.pages.inspector.same_image import SameImageTable
from gui.widgets.empty_state import EmptyState
from gui.widgets.figures_panel import FiguresPanel
from gui.widgets.fill_box import fill_box
from gui.widgets.message_bar import Message
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
_STEPS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_K: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_J: 1,
}


class Thumbnails(QListView):
    """The grid of images; leaves the keys that step through images to the page."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Images")
        self.setProperty("card", True)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(2 * SIDE + GAP, SIDE))
        self.setGridSize(QSize(2 * SIDE + GAP + 16, SIDE + 32))
        self.setMinimumWidth(2 * SIDE + GAP + 48)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in _STEPS:
            event.ignore()
        else:
            super().keyPressEvent(event)


class InspectorPage(Page):
    """Clean, adversarial and perturbation of each kept image, with its verdict."""

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self._seen: Version | None = None
        self._rows: dict[int, QueueRow | RunRow] = {}
        self._stamp: tuple[Any, ...] = ()
        self.examples: KeptImages | None = None
        self.place: int | None = None
        self.runs = QComboBox()
        self.shown, self.order = QComboBox(), QComboBox()
        self.previous, self.next = QPushButton("Previous"), QPushButton("Next")
        self.position = QLabel()
        self.sheet_button = QPushButton("Save sheet...")
        self.model = ExamplesModel(self)
        self.list = Thumbnails()
        self.evidence = SummaryBanner()
        self.panel = ExamplePanel()
        self.figures = FiguresPanel(_FIGURES)
        self.same = SameImageTable(context.store)
        self.stack, self.grid_stack = QStackedWidget(), QStackedWidget()
        self.no_images = EmptyState(
            "inspector",
            "",
            (("New study", lambda: self.go.emit("new", None)),),
        )
        self.no_runs = EmptyState(
            "inspector",
            "No run has images yet. Finished runs keep examples that can be looked at here.",
            (("New study", lambda: self.go.emit("new", None)),),
        )
        self.no_match = QLabel("No image of this kind.")
        self._build()
        self._connect()
        self._restore()

    # -- layout ----------------------------------------------------------------------------

    def _build(self) -> None:
        for box, name, hint in (
            (self.runs, "Run", "Whose images are shown."),
            (self.shown, "Images shown", "Which images are listed."),
            (
                self.order,
                "Order",
                "Confidence drop: most surely fooled first.",
            ),
        ):
            box.setAccessibleName(name)
            box.setToolTip(hint)
        self.runs.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
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
        for part in (self._content(), self.no_images, self.no_runs):
            self.stack.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.evidence)
        layout.addWidget(self.stack, 1)

    def _content(self) -> QSplitter:
        self.no_match.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_match.setProperty("role", "muted")
        self.grid_stack.addWidget(self.list)
        self.grid_stack.addWidget(self.no_match)
        heading = QLabel("Same image, same attack, other runs")
        heading.setProperty("role", "heading")
        others = QVBoxLayout()
        others.addWidget(heading)
        others.addWidget(self.same)
        lower = QHBoxLayout()
        lower.addWidget(self.figures, 1)
        lower.addLayout(others, 2)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panel, 3)
        column.addLayout(lower, 2)
        content = QSplitter(Qt.Orientation.Horizontal)
        content.addWidget(self.grid_stack)
        content.addWidget(right)
        content.setStretchFactor(1, 1)
        content.setSizes([280, 880])
        content.setChildrenCollapsible(False)
        return content

    def _connect(self) -> None:
        self.runs.activated.connect(lambda line: self.open(self.runs.itemData(line)))
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
        version = store_version(self.context.store)
        if version == self._seen:
            return
        self._seen = version
        rows = [row for row in self.context.store.queue() if row["done"]]
        self._rows = {row["run_id"]: row for row in rows}
        wanted = self.runs.currentData()
        fill_box(self.runs, [(_title(row), row["run_id"]) for row in reversed(rows)])
        if wanted not in self._rows:
            wanted = rows[-1]["run_id"] if rows else None
        self.runs.setCurrentIndex(self.runs.findData(wanted))
        self._load(wanted)

    def open(self, payload: Any) -> None:
        """Show the images of a run by its id, staying on the same image if it has it."""
        if isinstance(payload, list | tuple):
            payload = payload[0] if payload else None
        if not isinstance(payload, int):
            return
        self.refresh()
        if self.runs.findData(payload) < 0:
            self._add_run(payload)
        self.runs.setCurrentIndex(self.runs.findData(payload))
        self._load(self.runs.currentData())

    def _add_run(self, run_id: int) -> None:
        """List a run that has no images, so that the page can say so."""
        try:
            row = self.context.store.run(run_id)
        except StoreError as error:
            self.notify.emit(Message.of(error))
            return
        self._rows[run_id] = row
        self.runs.insertItem(0, _title(row), run_id)

    def _load(self, run_id: int | None) -> None:
        row = self._rows.get(run_id) if run_id is not None else None
        stamp = (run_id, row["done"] if row else 0)
        if stamp != self._stamp:
            other_run = stamp[0] != (self._stamp or (None,))[0]
            self._stamp = stamp
            self.examples = self._read(row["run_id"]) if row else None
            if self.examples and other_run:
                self.panel.fit_amplification(self.examples)
            self._list()
        reason = self.no_images if row else self.no_runs
        self.no_images.text.setText(_why_none(row))
        self.stack.setCurrentIndex(0 if self.examples else self.stack.indexOf(reason))
        for widget in (self.shown, self.order, self.sheet_button):
            widget.setEnabled(bool(self.examples))
        self.same.set_runs(self._others(row))
        self._judge(run_id if row else None)
        self.selected.emit(self.selected_runs())

    def _read(self, run_id: int) -> KeptImages | None:
        try:
            return read_examples(self.context.store, run_id)
        except StoreError as error:  # a file of theirs is missing or damaged
            self.notify.emit(Message.of(error))
            return None

    def _judge(self, run_id: int | None) -> None:
        """Say whether the number behind these images can be quoted."""
        if run_id is None:
            self.evidence.show_summary(None)
            return
        row = self.context.store.run(run_id)
        checks = lights(row, self.context.store.checks(row["run_id"]))
        self.evidence.show_summary(summarise(row, checks))

    def _others(self, row: QueueRow | RunRow | None) -> list[QueueRow | RunRow]:
        if row is None:
            return []
        return [
            other
            for other in self._rows.values()
            if other["run_id"] != row["run_id"]
            and other["status"] == "finished"
            and all(other[key] == row[key] for key in ("study", "dataset", "attack"))
        ]

    def selected_runs(self) -> list[int]:
        run_id = self.runs.currentData()
        return [] if run_id is None else [int(run_id)]

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
        by = _STEPS.get(Qt.Key(event.key()))
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


def _title(row: QueueRow | RunRow) -> str:
    return f"{row['run_id']}  {model_title(row['model'])}, {row['compression']}, {row['attack']}"


def _why_none(row: QueueRow | RunRow | None) -> str:
    if row and row["status"] != "finished":
        return f"This run is {row['status']} and has no images yet."
    return "This run kept no images. Set keep_images above 0 in the study and run it again."
