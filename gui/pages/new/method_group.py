"""A family of methods under a heading that folds, and the line that searches through them."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy

from engine import catalog
from engine.catalog import Entry
from gui.pages.new.method_block import MethodBlock
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import LineEdit

_LAST = ("minimum", "gradient-free", "torchattacks")
_LEAST_WIDTH, _AROUND_TEXT = 120, 32
_STEPS = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}


def families(entry_ids: list[str], section: str) -> dict[str, list[str]]:
    """The entries by family: attacks in a ball, minimum norm, without gradients, libraries."""

    def rank(family: str) -> int:
        ranks = [number for number, start in enumerate(_LAST, 1) if family.startswith(start)]
        return ranks[0] if ranks else 0

    # In the order of the whole catalogue, so that the groups stand still while methods leave.
    ids: dict[str, list[str]] = {entry.family: [] for entry in catalog.section(section).values()}
    for id_ in entry_ids:
        ids[catalog.find(section, id_).family].append(id_)
    return {family: ids[family] for family in sorted(ids, key=rank) if ids[family]}


def matches(entry: Entry, text: str) -> bool:
    """Whether every word of the text is somewhere in what is known of a method."""
    norms = "Linf L2" if "norm" in entry.params.model_fields else entry.norm
    known = (entry.id, entry.title, entry.family, entry.summary, entry.paper, norms)
    haystack = " ".join(known).casefold()
    return all(word in haystack for word in text.casefold().split())


class MethodGroup(TextButton):
    """The heading of a family; holds its methods, as far as they have been built.

    Signals:
        folded: opened or closed by a person.
    """

    folded = Signal()

    def __init__(self, family: str, entry_ids: list[str]) -> None:
        super().__init__("folded", "")
        self.family, self.entry_ids = family, entry_ids
        self.blocks: list[MethodBlock] = []
        self.expanded = False
        library = family.startswith("torchattacks")
        self._name = family if library else family[:1].upper() + family[1:]
        # What tells the groups of one library apart stands at the end.
        mode = Qt.TextElideMode
        self._elide = mode.ElideLeft if library else mode.ElideRight
        self._counts = ""
        self.setProperty("flat", True)
        self.setProperty("heading", True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.clicked.connect(self._fold)
        self.tell()

    def _fold(self) -> None:
        self.expand(not self.expanded)
        self.folded.emit()

    def expand(self, expanded: bool) -> None:
        """Open or close it; what is shown then is up to the column."""
        self.expanded = expanded
        self.tell()

    def tell(self, matching: int | None = None) -> None:
        """Say how many methods there are, or how many of them were found, and are ticked."""
        count = len(self.entry_ids)
        ticked = sum(block.box.isChecked() for block in self.blocks)
        self._counts = f"  ({count if matching is None else f'{matching} of {count}'})"
        self._counts += f"  {ticked} ticked" if ticked else ""
        is_open = self.expanded if matching is None else True
        self.set_icon("unfolded" if is_open else "folded")
        self.setAccessibleName(f"{self._name}{self._counts}, {'open' if is_open else 'closed'}")
        self.setToolTip(self._name)
        self._fit()

    def minimumSizeHint(self) -> QSize:
        return QSize(_LEAST_WIDTH, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Where there is little room the name is shortened, and the counts stay."""
        metrics = self.fontMetrics()
        room = self.width() - _AROUND_TEXT - metrics.horizontalAdvance(self._counts)
        name = metrics.elidedText(self._name, self._elide, room)
        self.setText(name + self._counts)

    def missing(self) -> list[str]:
        """The methods that have no block yet."""
        built = {block.entry_id for block in self.blocks}
        return [id_ for id_ in self.entry_ids if id_ not in built]

    def place_of(self, entry_id: str) -> int:
        """Where a new block belongs among those that are built."""
        order = self.entry_ids.index(entry_id)
        before = [b for b in self.blocks if self.entry_ids.index(b.entry_id) < order]
        return len(before)


class SearchLine(LineEdit):
    """Filters while one types; the arrows move through what is found, Enter ticks it.

    Signals:
        moved: by one place up (-1) or down (1).
        accepted: the place is wanted.
    """

    moved = Signal(int)
    accepted = Signal()

    def __init__(self, count: int, what: str) -> None:
        super().__init__()
        self.setPlaceholderText(f"Search {count} {what}: name, norm, author…")
        self.setAccessibleName(f"Search {what}")
        self.setToolTip("Up and Down move through what is found, Enter ticks it, Escape clears.")
        self.setClearButtonEnabled(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = Qt.Key(event.key())
        if key in _STEPS:
            self.moved.emit(_STEPS[key])
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not event.modifiers():
            self.accepted.emit()
        elif key == Qt.Key.Key_Escape and self.text():
            self.clear()
        else:
            super().keyPressEvent(event)
