"""Every model that can be had at once or by a download, in one table to search and filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedLayout,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from engine.catalog.models.offers import Offer, offers
from engine.catalog.models.published import PACKAGES
from engine.specs.model_fit import ImagesFound, misfit
from gui.base import offer_words, theme
from gui.base.words import images_word
from gui.pages.new.offer_table import OFFER_ROLE, OfferFilter, OfferModel, Wanted
from gui.widgets.dialog import Dialog
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import ComboBox, LineEdit, add_key
from gui.widgets.note_line import NoteLine
from gui.widgets.tables import set_up_table

_MILLION = 10**6
_SIZES = (5, 30, 100)
_WIDTHS = (310, 76, 100, 92, 60, 128, 104, 166)
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class ModelPicker(Dialog):
    """Typing filters, Enter adds the selected model, Escape closes.

    Args:
        add: ticks a model or begins its download; says what came of it and how serious that is.
        stage: how far the download of an offer is; empty if there is none.
    """

    def __init__(
        self,
        add: Callable[[Offer], tuple[str, str]],
        stage: Callable[[Offer], str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._add = add
        self.search, self.fitting = LineEdit(), QCheckBox("Fits the images")
        self.filters = {
            key: ComboBox() for key in ("dataset", "training", "most", "licence", "where")
        }
        self.table, self.model = QTableView(), OfferModel(stage, self)
        self.proxy = OfferFilter(self)
        self.empty, self.reset = QLabel(), QPushButton("Show all models")
        self.count, self.facts = QLabel(), QLabel()
        self.fit, self.note = NoteLine("Whether the model fits"), NoteLine("What was done")
        self.add_button = TextButton("new", "Add", primary=True)
        self.close_button = QPushButton("Close")
        self._lay_out()
        self._connect()
        self.refresh()

    # -- layout ----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.setWindowTitle("Add a model")
        self.resize(1140, 620)
        self.search.setAccessibleName("Search models on offer")
        self.search.setPlaceholderText("Search, for example  resnet-18 robust  or  wong2020")
        self.search.setClearButtonEnabled(True)
        names = ("Dataset", "Robust or standard", "Size", "Licence", "Where it is")
        for box, name in zip(self.filters.values(), names, strict=True):
            box.setAccessibleName(f"Filter: {name}")
        self.fitting.setToolTip("Only models that take the images chosen in New.")
        self.facts.setAccessibleName("About the selected model")
        self.facts.setWordWrap(True)
        self.facts.setProperty("role", "small")
        self.facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.count.setProperty("role", "muted")
        self._set_up_table()
        first, second, last = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.search, 1)
        for widget in (*self.filters.values(), self.fitting):
            second.addWidget(widget)
        second.addStretch()
        second.addWidget(self.count)
        last.addWidget(self.note, 1)
        last.addStretch()
        last.addWidget(self.close_button)
        last.addWidget(self.add_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addLayout(first)
        column.addLayout(second)
        column.addLayout(self._middle(), 1)
        for label in (self.facts, self.fit):
            column.addWidget(label)
        column.addLayout(last)

    def _middle(self) -> QStackedLayout:
        """The table, or what to do where it would be empty."""
        nothing = QWidget()
        column = QVBoxLayout(nothing)
        column.addStretch()
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty)
        column.addWidget(self.reset, 0, Qt.AlignmentFlag.AlignCenter)
        column.addStretch()
        self._pages = QStackedLayout()
        self._pages.addWidget(self.table)
        self._pages.addWidget(nothing)
        return self._pages

    def _set_up_table(self) -> None:
        self.proxy.setSourceModel(self.model)
        table = self.table
        table.setModel(self.proxy)
        set_up_table(table, "Models on offer", 26)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setSortingEnabled(True)
        table.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # as offered: what lies here first
        table.setTabKeyNavigation(False)
        header = table.horizontalHeader()
        for column, width in enumerate(_WIDTHS):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def _connect(self) -> None:
        self.search.textChanged.connect(lambda _text: self._filter())
        for box in self.filters.values():
            box.activated.connect(lambda _place: self._filter())
        self.fitting.clicked.connect(lambda _on: self._filter())
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._turned())
        self.table.installEventFilter(self)
        self.table.doubleClicked.connect(lambda _: self.add())
        self.add_button.clicked.connect(self.add)
        self.close_button.clicked.connect(self.reject)
        self.reset.clicked.connect(self.show_all)
        theme.current().changed.connect(self.table.viewport().update)
        for keys in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            add_key(self.table, keys, self.add)
        add_key(self, QKeySequence.StandardKey.Find, self.search.setFocus, within=True)

    # -- keys ------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """What is typed in the table goes on in the search."""
        if watched is self.table and isinstance(event, QKeyEvent) and _is_typed(event):
            self.search.setFocus()
            self.search.insert(event.text())
            return True
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """From the search, arrows move in the table and Enter adds."""
        if self.search.hasFocus() and event.key() in _MOVES:
            self.table.keyPressEvent(event)
        elif self.search.hasFocus() and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.add()
        else:
            super().keyPressEvent(event)

    def leave_field(self, field: QWidget | None) -> None:
        """Escape empties the search first, and closes then."""
        if field is self.search and self.search.text():
            self.search.clear()
        else:
            self.reject()

    # -- what is shown ---------------------------------------------------------------------

    def open_for(self, dataset: str) -> None:
        """Show it, at first with the models of this dataset, where any are published."""
        self.refresh()
        if not self.isVisible():
            self.note.tell("")
            self.show_all(dataset)
        self.show()
        self.raise_()
        self.activateWindow()
        self.search.setFocus()

    def show_all(self, dataset: str = "") -> None:
        """No filter but perhaps that of a dataset."""
        self.search.clear()
        for box in self.filters.values():
            box.setCurrentIndex(0)
        box = self.filters["dataset"]
        # Of the digits only the bundled models are known: all others are what is looked for.
        published = any(one.published and one.dataset == dataset for one in self.model.rows)
        if published:
            box.setCurrentIndex(max(0, box.findData(dataset)))
        self.fitting.setChecked(False)
        self._filter()

    def refresh(self) -> None:
        """Look at the library again; selection and filters stay."""
        rows = offers(catalog.models.cards.cards())
        if rows == self.model.rows:
            return
        chosen = self.selected()
        self.model.set_rows(rows)
        _fill(self.filters["dataset"], "All datasets", _datasets(rows))
        _fill(
            self.filters["training"],
            "Robust and standard",
            [("Robust", "robust"), ("Standard", "standard")],
        )
        sizes = [(f"Up to {size} M parameters", size * _MILLION) for size in _SIZES]
        _fill(self.filters["most"], "Any size", sizes, None)
        _fill(self.filters["licence"], "Any licence", _licences(rows), None)
        packages = [(f"From {package}", package) for package in PACKAGES]
        places = [("Here", "here"), ("Can be downloaded", "download"), *packages]
        _fill(self.filters["where"], "Anywhere", places)
        self._filter(chosen.key if chosen else "")

    def judge(self, look: ImagesFound) -> None:
        """Other images are chosen in New."""
        self.model.judge(look)
        if self.isVisible():  # it filters anew when it is opened
            self._filter()

    def show_stage(self, key: str) -> None:
        """The download of an offer is further."""
        self.model.show_stage(key)

    def say(self, text: str, role: str) -> None:
        """Tell what was done."""
        self.note.tell(text, role)

    def selected(self) -> Offer | None:
        """The selected model."""
        found = self.table.currentIndex().data(OFFER_ROLE)
        return found if isinstance(found, Offer) else None

    def _filter(self, key: str = "") -> None:
        chosen = self.selected()
        key = key or (chosen.key if chosen else "")
        picked: dict[str, Any] = {name: box.currentData() for name, box in self.filters.items()}
        words = tuple(self.search.text().casefold().split())
        self.proxy.show(Wanted(words, **picked, fitting=self.fitting.isChecked()))
        shown, known = self.proxy.rowCount(), len(self.model.rows)
        self.count.setText(f"{shown:,} of {known:,} models")
        self._pages.setCurrentIndex(0 if shown else 1)
        self.empty.setText(
            "No model on offer is like this. For one of your own: Import… in the first column."
        )
        rows = [self.proxy.index(row, 0) for row in range(shown)]
        same = (index for index in rows if index.data(OFFER_ROLE).key == key)
        current = next(same, rows[0] if rows else QModelIndex())
        self.table.setCurrentIndex(current)
        if current.isValid():
            self.table.scrollTo(current)
        self._tell()

    def _turned(self) -> None:
        """Another model is selected: what was said was of the one before."""
        self.note.tell("")
        self._tell()

    def _tell(self) -> None:
        """What is known of the selected model, and why it does not fit."""
        one = self.selected()
        self.add_button.setEnabled(one is not None)
        self.facts.setText(_about(one) if one else "")
        self.fit.tell(_doubts(one, self.model.look) if one else "", "warning")

    # -- what can be done ------------------------------------------------------------------

    def add(self) -> None:
        """Tick the selected model, or begin its download."""
        one = self.selected()
        if one is not None:
            self.say(*self._add(one))


def _is_typed(event: QKeyEvent) -> bool:
    """Whether a key writes a character; of both of its events, only the first."""
    held = event.modifiers() & ~Qt.KeyboardModifier.ShiftModifier
    text = event.text().strip()
    pressed = event.type() == QEvent.Type.KeyPress
    return pressed and not held and text != "" and text.isprintable()


def _fill(box: ComboBox, first: str, rest: list[tuple[str, Any]], empty: Any = "") -> None:
    """Choices of a filter; what is chosen stays."""
    chosen = box.currentData()
    box.clear()
    box.addItem(first, empty)
    for text, data in rest:
        box.addItem(text, data)
    box.setCurrentIndex(max(0, box.findData(chosen)))


def _datasets(rows: list[Offer]) -> list[tuple[str, Any]]:
    return [(images_word(id_), id_) for id_ in dict.fromkeys(one.dataset for one in rows)]


def _licences(rows: list[Offer]) -> list[tuple[str, Any]]:
    found = Counter(one.licence for one in rows)
    return [(licence or "not stated", licence) for licence, _ in found.most_common()]


def _doubts(one: Offer, look: ImagesFound) -> str:
    """Why it does not fit the images, and what has to be installed first."""
    weights = one.published
    missing = weights.missing() if weights is not None and one.card is None else ""
    install = f"Needs the package {one.package}: {missing}" if missing else ""
    return " ".join(text for text in (misfit(look, one), install) if text)


def _about(one: Offer) -> str:
    weights = one.published
    if weights is None:
        card = one.card
        return f"{card.id}: {card.summary} Clean accuracy {one.stated_by}." if card else ""
    facts = offer_words.published_facts(weights)
    return "  ·  ".join(
        f"{label}: {value}{f' ({why})' if why and label in ('Clean', 'Robust') else ''}"
        for label, value, why in facts
        if label not in ("Parameters", "Download", "Licence")
    )
