"""File > Models: all models in a table, and the card of the selected one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtGui import QKeySequence, QShowEvent, QUndoCommand, QUndoStack
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from engine.catalog.models import cards, library
from engine.catalog.models.offers import Offer, offers
from engine.errors import CrumpleError
from engine.store import ModelUsage
from gui.base import theme
from gui.base.page_context import PageContext
from gui.base.seldom import Seldom
from gui.library.favourites import Favourites
from gui.library.library_model import ROW_ROLE, STAR, LibraryFilter, LibraryModel, LibraryRow
from gui.library.model_commands import DeleteModel, EditModel, RestoreModel, check_unused
from gui.library.model_view import ModelView
from gui.widgets.dialog import Dialog
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import LineEdit, add_key
from gui.widgets.message_bar import Message
from gui.widgets.overlay_bar import OverlayBar
from gui.widgets.tables import set_up_table

ORIGINS = (
    ("All on offer", ""),
    ("Favourites", "favourites"),
    ("Bundled", "bundled"),
    ("Imported", "imported"),
    ("Downloaded", "downloaded"),
    ("Trained", "trained"),
    ("To download", "published"),
    ("Deleted", "deleted"),
)
USAGE_MS = 3000
"""Where models are used is told from every run, so not at each change while a study runs."""
_WIDTHS = (28, 200, 92, 64, 92, 100, 108, 56)


class LibraryWindow(Dialog):
    """A window of its own, beside which the main window stays usable.

    Args:
        context: the results and the settings.
        undo: takes the changes.
        changed: called after the library changed.

    Signals:
        wanted: a button that concerns the main window (use, runs, download, import) and the
            model's id.
        trouble: an error that a person can mend, while the window is not seen.
    """

    wanted = Signal(str, str)
    trouble = Signal(object)

    def __init__(
        self,
        context: PageContext,
        undo: QUndoStack,
        changed: Callable[[], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._context, self._undo, self._changed = context, undo, changed
        self._favourites = Favourites(context.settings)
        self._usage: dict[str, ModelUsage] = {}
        self._usage_due = Seldom(self._read_usage, USAGE_MS, self)
        self.search, self.origin = LineEdit(), QComboBox()
        self.message, self.card = OverlayBar(self), ModelView()
        self.table, self.model = QTableView(), LibraryModel(self)
        self.proxy = LibraryFilter(self)
        self.import_button = TextButton("import", "Import…")
        self._lay_out()
        self._connect()
        self.refresh()

    # -- layout ----------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.setWindowTitle("Models")
        self.resize(1180, 640)
        self.search.setAccessibleName("Search models")
        self.search.setPlaceholderText("Search, for example  resnet imported")
        self.search.setClearButtonEnabled(True)
        self.origin.setAccessibleName("Origin")
        for text, key in ORIGINS:
            self.origin.addItem(text, key)
        self._set_up_table()
        top = QHBoxLayout()
        top.addWidget(self.search, 1)
        top.addWidget(self.origin)
        top.addWidget(self.import_button)
        split = QSplitter()
        split.setChildrenCollapsible(False)
        split.addWidget(self.table)
        split.addWidget(self.card)
        split.setSizes([690, 460])
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addLayout(top)
        column.addWidget(split, 1)

    def _set_up_table(self) -> None:
        self.proxy.setSourceModel(self.model)
        table = self.table
        table.setModel(self.proxy)
        set_up_table(table, "Models", 26)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setSortingEnabled(True)
        table.sortByColumn(STAR, Qt.SortOrder.AscendingOrder)
        header = table.horizontalHeader()
        for column, width in enumerate(_WIDTHS):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)

    def _connect(self) -> None:
        self.search.textChanged.connect(lambda _text: self._filter())
        self.origin.activated.connect(lambda _place: self._filter())
        self.import_button.clicked.connect(lambda: self.wanted.emit("import", ""))
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._show_card())
        self.table.clicked.connect(self._clicked)
        self.table.doubleClicked.connect(lambda _: self._asked("use"))
        self.card.asked.connect(self._asked)
        self.card.edited.connect(self._edit)
        self._context.client.rows_changed.connect(self._refresh_if_visible)
        theme.current().changed.connect(self.table.viewport().update)
        self._add_keys()

    def _add_keys(self) -> None:
        add_key(self.table, Qt.Key.Key_Delete, lambda: self._asked("delete"))
        add_key(self.table, Qt.Key.Key_Return, lambda: self._asked("use"))
        add_key(self.table, Qt.Key.Key_Enter, lambda: self._asked("use"))
        add_key(self.table, Qt.Key.Key_Asterisk, self._toggle_star)
        add_key(self, QKeySequence.StandardKey.Find, self.search.setFocus, within=True)
        add_key(self, QKeySequence.StandardKey.Undo, self._undo.undo, within=True)
        add_key(self, "Ctrl+Shift+Z", self._undo.redo, within=True)

    def leave_field(self, field: QWidget | None) -> None:
        if field is self.search and self.search.text():
            self.search.clear()
            return
        if field is not self.search:
            self.card.revert()
        self.table.setFocus()

    # -- what is shown ---------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the library, the trash and the runs again; the selection stays."""
        self._usage_due.ask()
        self._show_models()

    def _read_usage(self) -> None:
        def take(usage: dict[str, ModelUsage]) -> None:
            self._usage = usage
            self._show_models()

        self._context.results.ask(self, "usage", lambda store: store.model_usage(), take)

    def _show_models(self) -> None:
        chosen = self.selected()
        usage, stars = self._usage, self._favourites.ids()
        rows = [
            LibraryRow(one, usage.get(one.key, ModelUsage()), one.key in stars)
            if one.card
            else LibraryRow(one)
            for one in offers(cards.cards())
        ]
        folder = cards.library_folder()
        if folder is not None:
            rows += [LibraryRow(Offer(one.card), deleted=one) for one in library.trashed(folder)]
        if rows == self.model.rows:
            return
        self.model.set_rows(rows)
        self._choose(chosen.key if chosen else "")

    def _refresh_if_visible(self) -> None:
        if self.isVisible():
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def selected(self) -> LibraryRow | None:
        """The model whose card is shown."""
        row = self.table.currentIndex().data(ROW_ROLE)
        return row if isinstance(row, LibraryRow) else None

    def select(self, model_id: str) -> None:
        """Show a model, whatever is being filtered."""
        self.search.clear()
        self.origin.setCurrentIndex(0)
        self._filter()
        self._choose(model_id)
        self.table.setFocus()
        self.table.setFocus()

    def _choose(self, key: str) -> None:
        places = range(self.proxy.rowCount())
        rows = [self.proxy.index(row, 1) for row in places]
        current = next((index for index in rows if index.data(ROW_ROLE).key == key), None)
        current = current or (rows[0] if rows else QModelIndex())
        self.table.setCurrentIndex(current)
        if current.isValid():
            self.table.scrollTo(current)
        self._show_card()

    def _filter(self) -> None:
        chosen = self.selected()
        self.proxy.set_filter(self.search.text(), str(self.origin.currentData()))
        self._choose(chosen.key if chosen else "")

    def _show_card(self) -> None:
        self.card.show_row(self.selected())

    # -- what can be done ------------------------------------------------------------------

    def _clicked(self, index: QModelIndex) -> None:
        if index.column() == STAR:
            self._toggle_star()

    def _toggle_star(self) -> None:
        row = self.selected()
        if row is not None and row.offer.card is not None and row.deleted is None:
            self._favourites.toggle(row.offer.key)
            self.refresh()

    def _asked(self, what: str) -> None:
        row = self.selected()
        if row is None or self.card.buttons[what].isHidden():
            return
        self.message.clear()
        if what in ("use", "runs", "download"):
            self.wanted.emit(what, row.offer.key)
        else:
            {"delete": self._delete, "restore": self._restore, "erase": self._erase}[what](row)

    def _folder(self) -> Path:
        folder = cards.library_folder()
        assert folder is not None  # there are models of it
        return folder

    def _delete(self, row: LibraryRow) -> None:
        card = row.offer.card
        assert card is not None
        try:
            check_unused(card, self._context.store)
        except CrumpleError as error:
            self._tell(error)
            return
        store = self._context.store
        self._push(DeleteModel(card, self._folder(), store, self._changed, self._tell))
        if self.message.message is None:
            text = f"{card.title} was deleted; its results stay."
            self.message.show_message(
                Message(text, "Ctrl+Z brings it back.", button="Undo", action=self._undo.undo)
            )

    def _restore(self, row: LibraryRow) -> None:
        assert row.deleted is not None
        self._push(
            RestoreModel(
                row.deleted, self._folder(), self._context.store, self._changed, self._tell
            )
        )

    def _erase(self, row: LibraryRow) -> None:
        text = f"{row.offer.title} would be erased for good."

        self.message.show_message(
            Message(
                text,
                "This cannot be undone.",
                "warning",
                button="Erase",
                action=partial(self._erase_now, row),
            )
        )

    def _erase_now(self, row: LibraryRow) -> None:
        assert row.deleted is not None
        try:
            library.erase(row.deleted)
        except CrumpleError as error:
            self._tell(error)
        self._changed()

    def _edit(self, title: str, remark: str) -> None:
        row = self.selected()
        card = row.offer.card if row is not None else None
        if card is not None:
            self._push(EditModel(card, self._folder(), title, remark, self._changed, self._tell))

    def _push(self, command: QUndoCommand) -> None:
        self._undo.push(command)

    def _tell(self, error: CrumpleError) -> None:
        if self.isVisible():
            self.message.show_message(Message.of(error))
        else:
            self.trouble.emit(error)
