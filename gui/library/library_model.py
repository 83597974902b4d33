"""The models of the library as a table: on offer, to be downloaded, or deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from engine.catalog.models.library import Trashed
from engine.catalog.models.offers import Offer
from engine.store import ModelUsage
from gui.base import theme
from gui.base.words import images_word

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_ROLE = Qt.ItemDataRole
ROW_ROLE = _ROLE.UserRole
_SORT_ROLE = _ROLE.UserRole + 1
STAR = 0


@dataclass(frozen=True)
class LibraryRow:
    """One line: a model on offer, one in the trash, or weights to be downloaded.

    Attributes:
        offer: the model or the weights.
        usage: where a model on offer is used.
        favourite: whether it has a star.
        deleted: where its files lie, if it was deleted.
    """

    offer: Offer
    usage: ModelUsage = field(default_factory=ModelUsage)
    favourite: bool = False
    deleted: Trashed | None = None

    @property
    def key(self) -> str:
        """Tells rows apart, deleted models of one name too."""
        return str(self.deleted.place) if self.deleted else self.offer.key

    @property
    def kind(self) -> str:
        """Where it stands in the filter by origin."""
        if self.deleted is not None:
            return "deleted"
        return self.offer.card.origin if self.offer.card else "published"

    @property
    def images(self) -> str:
        """What it was measured on."""
        card = self.offer.card
        return images_word(card.dataset) if card else self.offer.dataset

    @property
    def verdict(self) -> str:
        """The doctor's word."""
        card = self.offer.card
        if card is None:
            return ""
        return "healthy" if card.healthy else "not healthy"

    def words(self) -> str:
        """All that the search looks through, in small letters."""
        offer, card = self.offer, self.offer.card
        more = (card.summary, card.architecture, card.remark, card.paper) if card else ()
        source = card.source.file if card and card.source else ""
        parts = (offer.key, offer.title, self.kind, self.images, source, self.verdict, *more)
        return " ".join(parts).casefold()


@dataclass(frozen=True)
class _Column:
    title: str
    hint: str
    text: Callable[[LibraryRow], str]
    sort: Callable[[LibraryRow], Any]
    number: bool = False


def _share(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1%}"


COLUMNS = (
    _Column("", "Star: your favourites.", lambda _: "", lambda row: not row.favourite),
    _Column(
        "Model", "Its title.", lambda row: row.offer.title, lambda row: row.offer.title.casefold()
    ),
    _Column("Origin", "Where it comes from.", lambda row: row.kind, lambda row: row.kind),
    _Column(
        "Clean",
        "Clean accuracy on the images it was measured on; as published for those to download.",
        lambda row: _share(row.offer.clean_accuracy),
        lambda row: row.offer.clean_accuracy or 0.0,
        True,
    ),
    _Column("Images", "What it was measured on.", lambda row: row.images, lambda row: row.images),
    _Column(
        "Parameters",
        "Number of parameters.",
        lambda row: f"{row.offer.parameters:,}",
        lambda row: row.offer.parameters,
        True,
    ),
    _Column("Doctor", "Verdict on import.", lambda row: row.verdict, lambda row: row.verdict),
    _Column(
        "Runs",
        "Runs that use it, as base or as teacher.",
        lambda row: f"{row.usage.runs:,}" if row.offer.card and not row.deleted else "",
        lambda row: row.usage.runs,
        True,
    ),
)


class LibraryModel(QAbstractTableModel):
    """One row per model."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[LibraryRow] = []

    def set_rows(self, rows: Sequence[LibraryRow]) -> None:
        """Show these."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return None
        column = COLUMNS[section]
        if role == _ROLE.DisplayRole:
            return column.title
        if role == _ROLE.ToolTipRole:
            return column.hint
        return _side(column) if role == _ROLE.TextAlignmentRole else None

    def data(self, index: Index, role: int = 0) -> Any:
        row, column = self.rows[index.row()], COLUMNS[index.column()]
        match role:
            case _ROLE.DisplayRole:
                return column.text(row)
            case _ROLE.ToolTipRole:
                card = row.offer.card
                return card.summary if card else "Not downloaded yet."
            case _ROLE.TextAlignmentRole:
                return _side(column)
            case _ROLE.DecorationRole:
                return _sign(row, index.column())
            case _ROLE.AccessibleTextRole if index.column() == STAR:
                return "favourite" if row.favourite else "no favourite"
            case _:
                return {ROW_ROLE: row, _SORT_ROLE: column.sort(row)}.get(role)


def _side(column: _Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _sign(row: LibraryRow, column: int) -> Any:
    card = row.offer.card
    if column == STAR and card and not row.deleted:
        return theme.icon("starred", "accent") if row.favourite else theme.icon("star", "muted")
    if column == len(COLUMNS) - 2 and card and not card.healthy:
        return theme.icon("light-danger", "danger")
    return None


class LibraryFilter(QSortFilterProxyModel):
    """Rows of one origin that hold all words of the search."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self._origin = ""
        self.setSortRole(_SORT_ROLE)

    def set_filter(self, text: str, origin: str) -> None:
        """Show what holds these words; ``origin`` may also be favourites, or empty for all."""
        self._words, self._origin = text.casefold().split(), origin
        self.invalidate()

    def filterAcceptsRow(self, line: int, parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, LibraryModel)
        row = model.rows[line]
        if self._origin == "":
            right = row.kind not in ("published", "deleted")
        elif self._origin == "favourites":
            right = row.favourite and row.deleted is None
        else:
            right = row.kind == self._origin
        return right and all(word in row.words() for word in self._words)
