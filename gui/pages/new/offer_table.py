"""Models on offer as a table, and which of them the picker shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)

from engine.catalog.models.offers import TO_DOWNLOAD, Offer
from engine.specs.model_fit import ImagesFound, misfit
from gui.base import offer_words, theme
from gui.base.words import images_word

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_ROLE = Qt.ItemDataRole
OFFER_ROLE = _ROLE.UserRole
_SORT_ROLE = _ROLE.UserRole + 1
STATE = 7


@dataclass(frozen=True)
class _Column:
    title: str
    hint: str
    text: Callable[[Offer], str]
    sort: Callable[[Offer], Any]
    number: bool = False


def _short(one: Offer) -> str:
    """Where it is, in a narrow column: the command that installs a package stands below it."""
    weights = one.published
    lacks = one.card is None and weights is not None and weights.missing()
    return f"needs crumple[{one.package}]" if lacks else one.state


COLUMNS = (
    _Column("Model", "Its title.", lambda one: one.title, lambda one: one.title.casefold()),
    _Column(
        "Dataset",
        "What it was trained for, or measured on.",
        lambda one: images_word(one.dataset),
        lambda one: one.dataset,
    ),
    _Column(
        "Parameters",
        "Number of parameters.",
        lambda one: f"{one.parameters:,}",
        lambda one: one.parameters,
        True,
    ),
    _Column(
        "Download",
        "Bytes to fetch, or on disk of what lies here; empty where the package does not state it.",
        lambda one: offer_words.size(one.size_bytes),
        lambda one: one.size_bytes or 0,
        True,
    ),
    _Column(
        "Clean",
        "Clean accuracy: measured here, or as the package states it.",
        lambda one: offer_words.share(one.clean_accuracy),
        lambda one: one.clean_accuracy or 0.0,
        True,
    ),
    _Column(
        "Robust",
        "Robust accuracy with its threat model, as the package states it.",
        lambda one: offer_words.robust(one.robust),
        lambda one: one.robust.accuracy if one.robust else -1.0,
    ),
    _Column(
        "Licence",
        "Of the weights, as stated.",
        lambda one: one.licence or "not stated",
        lambda one: one.licence or "~",
    ),
    _Column("State", "Where it is.", _short, lambda one: one.state),
)


class OfferModel(QAbstractTableModel):
    """One row per model.

    Args:
        stage: how far the download of an offer is; empty if there is none.
    """

    def __init__(self, stage: Callable[[Offer], str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stage = stage
        self.look = ImagesFound()
        self.rows: list[Offer] = []
        self.words: list[str] = []
        self._places: dict[str, int] = {}

    def set_rows(self, rows: Sequence[Offer]) -> None:
        """Show these."""
        self.beginResetModel()
        self.rows = list(rows)
        self.words = [_words(row) for row in rows]
        self._places = {row.key: place for place, row in enumerate(rows)}
        self.endResetModel()

    def judge(self, look: ImagesFound) -> None:
        """Mark what does not fit these images."""
        self.look = look
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, 0))

    def show_stage(self, key: str) -> None:
        """The download of an offer is further; a few times a second, so its row alone."""
        place = self._places.get(key)
        if place is not None:
            cell = self.index(place, STATE)
            self.dataChanged.emit(cell, cell)

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
                return (index.column() == STATE and self._stage(row)) or column.text(row)
            case _ROLE.ToolTipRole:
                return misfit(self.look, row) or column.text(row)
            case _ROLE.TextAlignmentRole:
                return _side(column)
            case _ROLE.DecorationRole if index.column() == 0 and misfit(self.look, row):
                return theme.icon("light-warning", "warning")
            case _:
                return {OFFER_ROLE: row, _SORT_ROLE: column.sort(row)}.get(role)


def _side(column: _Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column.number else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _words(one: Offer) -> str:
    """All that the search looks through, in small letters."""
    card = one.card
    more = (card.summary, card.architecture, card.remark) if card else ()
    source = one.published.source if one.published else ""
    parts = (one.id, one.title, one.package, one.dataset, one.training, one.licence, source, *more)
    return " ".join(parts).casefold()


@dataclass(frozen=True)
class Wanted:
    """What the picker is asked to show; what is empty or None asks for nothing.

    Attributes:
        words: all of them have to occur.
        training: ``robust`` or ``standard``.
        most: parameters at most.
        where: ``here`` (bundled, in the library), ``download``, or the name of a package.
        fitting: only what fits the chosen images.
    """

    words: tuple[str, ...] = ()
    dataset: str = ""
    training: str = ""
    most: int | None = None
    licence: str | None = None
    where: str = ""
    fitting: bool = False

    def takes(self, one: Offer, words: str, look: ImagesFound) -> bool:
        """Whether a model is shown."""
        return (
            self.dataset in ("", one.dataset)
            and self.training in ("", one.training)
            and (self.most is None or one.parameters <= self.most)
            and self.licence in (None, one.licence)
            and (self.where == "" or self._lies(one))
            and not (self.fitting and misfit(look, one))
            and all(word in words for word in self.words)
        )

    def _lies(self, one: Offer) -> bool:
        if self.where == "here":
            return one.card is not None
        if self.where == "download":
            return one.state == TO_DOWNLOAD
        return one.package == self.where


class OfferFilter(QSortFilterProxyModel):
    """The rows that are wanted."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.wanted = Wanted()
        self.setSortRole(_SORT_ROLE)

    def show(self, wanted: Wanted) -> None:
        """Show what is wanted now."""
        self.wanted = wanted
        self.invalidate()

    def filterAcceptsRow(self, line: int, parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, OfferModel)
        return self.wanted.takes(model.rows[line], model.words[line], model.look)
