"""The card of one model: everything that is known of it, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from engine.catalog import ModelCard
from engine.catalog.models import library
from engine.catalog.models.cards import folder_of
from engine.errors import ModelError
from gui.base.offer_words import published_facts
from gui.base.words import images_word, run_count
from gui.library.import_words import in_two
from gui.library.library_model import LibraryRow
from gui.widgets.facts import Fact, Facts
from gui.widgets.icon_button import TextButton
from gui.widgets.inputs import LineEdit, TextEdit
from gui.widgets.traffic_light import LightIcon

_REMARK_HEIGHT = 64


class _Remark(TextEdit):
    left = Signal()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.left.emit()


class ModelView(QWidget):
    """Title and remark can be changed; the rest is to be read and copied.

    Signals:
        asked: a button, by its key in ``buttons``.
        edited: another title and remark.
    """

    asked = Signal(str)
    edited = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._row: LibraryRow | None = None
        self.title, self.remark = LineEdit(), _Remark()
        self._area = QScrollArea()
        self.buttons = {
            "use": TextButton("new", "Use in a new study", primary=True),
            "runs": QPushButton("Show its runs"),
            "delete": QPushButton("Delete"),
            "restore": TextButton("undo", "Restore", primary=True),
            "erase": QPushButton("Erase for good…"),
            "download": TextButton("import", "Download…", primary=True),
        }
        self._lay_out()
        self.show_row(None)

    def _lay_out(self) -> None:
        self.title.setAccessibleName("Title of the model")
        self.remark.setAccessibleName("Remark on the model")
        self.remark.setPlaceholderText("Remark")
        self.remark.setFixedHeight(_REMARK_HEIGHT)
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setAccessibleName("Card of the model")
        self.buttons["delete"].setToolTip("Move it to the trash; Ctrl+Z brings it back.")
        row = QHBoxLayout()
        row.addStretch()
        for key, button in self.buttons.items():
            button.clicked.connect(lambda _=False, key=key: self.asked.emit(key))
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.title)
        column.addWidget(self.remark)
        column.addWidget(self._area, 1)
        column.addLayout(row)
        self.title.editingFinished.connect(self._edited)
        self.remark.left.connect(self._edited)

    def show_row(self, row: LibraryRow | None) -> None:
        """Show this model; what is being typed of the same one stays, and so does the place."""
        if row == self._row and row is not None:
            return
        typing = self.title.hasFocus() or self.remark.hasFocus()
        same = row is not None and self._row is not None and row.key == self._row.key
        self._row = row
        kind = row.kind if row else ""
        editable = kind not in ("", "bundled", "published", "deleted")
        if not (same and typing):
            self.title.setText(row.offer.title if row else "")
            self.title.setCursorPosition(0)
            self.remark.setPlainText(row.offer.card.remark if row and row.offer.card else "")
        self.title.setReadOnly(not editable)
        self.title.setVisible(row is not None)
        self.remark.setVisible(editable or bool(row and row.offer.card and row.offer.card.remark))
        self.remark.setReadOnly(not editable)
        shown = {
            "use": row is not None and kind not in ("deleted", "published"),
            "runs": bool(row and row.usage.runs),
            "delete": editable,
            "restore": kind == "deleted",
            "erase": kind == "deleted",
            "download": kind == "published",
        }
        for key, button in self.buttons.items():
            button.setVisible(shown[key])
        self._area.setWidget(_inside(row))

    def revert(self) -> None:
        """Forget what is being typed."""
        row, self._row = self._row, None
        for field in (self.title, self.remark):
            field.clearFocus()
        self.show_row(row)

    def _edited(self) -> None:
        card = self._row.offer.card if self._row else None
        if card is None or self.title.isReadOnly():
            return
        title, remark = self.title.text().strip(), self.remark.toPlainText().strip()
        if (title, remark) != (card.title, card.remark):
            self.edited.emit(title, remark)


def _inside(row: LibraryRow | None) -> QWidget:
    inside = QWidget()
    inside.setObjectName("scrolled")
    column = QVBoxLayout(inside)
    column.setContentsMargins(0, 0, 8, 0)
    column.setSpacing(12)
    if row is None:
        empty = QLabel("Select a model to see its card.")
        empty.setProperty("role", "muted")
        column.addWidget(empty)
    elif row.offer.card is None:
        column.addWidget(Facts("Published weights", _published_facts(row), inside))
    else:
        column.addWidget(_verdict(row.offer.card))
        for title, facts in _sections(row, row.offer.card):
            column.addWidget(Facts(title, facts, inside))
    column.addStretch()
    return inside


def _verdict(card: ModelCard) -> QWidget:
    line = QWidget()
    row = QHBoxLayout(line)
    row.setContentsMargins(0, 0, 0, 0)
    icon = LightIcon("ok" if card.healthy else "danger")
    text = QLabel(card.summary)
    text.setWordWrap(True)
    text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    row.addWidget(icon, 0, Qt.AlignmentFlag.AlignTop)
    row.addWidget(text, 1)
    return line


def _sections(row: LibraryRow, card: ModelCard) -> list[tuple[str, list[Fact]]]:
    return [
        ("Where it is used", _usage_facts(row)),
        ("What it is", _model_facts(card)),
        ("Where it comes from", _source_facts(row, card)),
        ("The doctor's notes", [("", note, "") for note in card.notes]),
        ("History", [("", line, "") for line in card.history]),
        ("Training", [(key, str(value), "") for key, value in card.recipe.items() if value]),
    ]


def _usage_facts(row: LibraryRow) -> list[Fact]:
    usage = row.usage
    if row.deleted is not None:
        return [("Deleted", "Its results stay; studies cannot use it.", str(row.deleted.place))]
    if not usage.runs:
        return [("Used by", "no run yet", "")]
    studies = f"{usage.studies} {'study' if usage.studies == 1 else 'studies'}"
    waiting = f"{usage.active:,} of them wait or run" if usage.active else ""
    return [("Used by", f"{run_count(usage.runs)} in {studies}", waiting)]


def _model_facts(card: ModelCard) -> list[Fact]:
    interval = ""
    if card.interval is not None:
        interval = f"95 % interval {card.interval[0]:.1%} to {card.interval[1]:.1%}"
    normalisation = card.normalisation
    scaling = "none: it takes values in [0,1]"
    if normalisation is not None:
        mean, std = (
            " ".join(f"{number:.4g}" for number in part)
            for part in (normalisation.mean, normalisation.std)
        )
        scaling = f"mean {mean}, std {std}"
    return [
        ("Id", card.id, "The name in study files."),
        ("Clean", f"{card.clean_accuracy:.1%} of {card.test_images:,} images", interval),
        ("Images", images_word(card.dataset), ""),
        ("Input", "x".join(map(str, card.shape)), "channels x height x width, values in [0,1]"),
        ("Classes", f"{card.classes:,}", ""),
        ("Architecture", card.architecture, f"{card.parameters:,} parameters"),
        ("Normalisation", scaling, ""),
        ("Compression", "possible" if card.compressible else "not possible; attacks are", ""),
        *_mask_facts(card),
        *([("Paper", card.paper, "")] if card.paper else []),
    ]


def _mask_facts(card: ModelCard) -> list[Fact]:
    if not card.masked:
        return []
    count = len(card.masked)
    return [
        (
            "Masks",
            f"on {count:,} layer{'s' if count > 1 else ''}, from its file",
            "Every step of a recipe keeps their zeros.",
        )
    ]


def _source_facts(row: LibraryRow, card: ModelCard) -> list[Fact]:
    facts: list[Fact] = [("Origin", card.origin, "")]
    if card.source is not None:
        hash_ = f"SHA-256\n{in_two(card.source.sha256)}" if card.source.sha256 else ""
        facts += [("File", card.source.file, hash_), ("Format", card.source.format, "")]
    facts.append(("Fingerprint", in_two(card.fingerprint), "SHA-256 of the tensors"))
    try:
        folder: Path = row.deleted.place if row.deleted else folder_of(card)
        facts.append(("On disk", f"{library.size_of(card, folder) / 1e6:.1f} MB", str(folder)))
    except (ModelError, OSError):
        pass
    return facts


def _published_facts(row: LibraryRow) -> list[Fact]:
    published = row.offer.published
    assert published is not None
    return [
        *published_facts(published),
        (
            "Needs",
            f"The images of {published.dataset}, to measure its clean accuracy on.",
            "ImageNet is fetched from image-net.org by hand; the others can be downloaded in New.",
        ),
    ]
