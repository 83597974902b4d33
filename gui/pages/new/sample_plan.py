"""The number of images, beside it what so many can show, and how many it takes."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.pages.new.sample_words import FROM, HOW, needed, seen, seen_briefly
from gui.widgets.dialog import Dialog
from gui.widgets.inputs import PercentBox, SpinBox
from gui.widgets.note_line import NoteLine

_WIDTH = 340


class SamplePlan(QWidget):
    """A field, and beside it a button that says what its number can show and opens the planner.

    Args:
        limit: the field; it gets the focus.
    """

    def __init__(self, limit: SpinBox) -> None:
        super().__init__()
        self._images: int | None = None
        self.button = QPushButton()
        self.button.setProperty("flat", True)
        # In a narrow column it gives way to the number.
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.planner = SamplePlanner(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(limit, 4)
        row.addWidget(self.button, 6)
        self.setFocusProxy(limit)
        self.button.clicked.connect(self._open)
        self._say("")

    def tell(self, images: int | None) -> None:
        """Say what so many images show; of an unknown number only how many it takes."""
        if images != self._images:
            self._images = images
            self._say(seen(images) if images else "")

    def _say(self, sentence: str) -> None:
        self.planner.seen.tell(sentence)
        briefly = seen_briefly(self._images) if self._images and sentence else ""
        self.button.setText(briefly or "How many?")
        words = " ".join(filter(None, (sentence, "Click to see how many images it takes.")))
        self.button.setAccessibleName(words)
        self.button.setToolTip(words)

    def _open(self) -> None:
        self.planner.adjustSize()
        self.planner.move(self.button.mapToGlobal(QPoint(0, self.button.height())))
        self.planner.open()
        self.planner.robust.setFocus()


class SamplePlanner(Dialog):
    """What the number of images shows, and how many tell two accuracies apart; gone at a click."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowFlags(Qt.WindowType.Popup)
        self.setAccessibleName("How many images")
        self.seen, self.needed = NoteLine("What so many images show"), QLabel()
        self.robust, self.other = PercentBox(), PercentBox()
        self.robust.setValue(42)
        self.other.setValue(38)
        self._lay_out()
        for box in (self.robust, self.other):
            box.valueChanged.connect(lambda _value: self._answer())
        self._answer()

    def leave_field(self, field: QWidget | None) -> None:
        """Escape closes it at once, as it does with a menu."""
        self.close()

    def _lay_out(self) -> None:
        card = QFrame()
        card.setProperty("card", True)
        card.setFixedWidth(_WIDTH)
        heading, how = QLabel("How many images?"), QLabel(f"{HOW} {FROM}")
        heading.setProperty("role", "heading")
        how.setProperty("role", "small")
        row = QHBoxLayout()
        row.setSpacing(6)
        for word, box, name in (
            ("To tell", self.robust, "One robust accuracy"),
            ("from", self.other, "The other robust accuracy"),
        ):
            row.addWidget(QLabel(word))
            row.addWidget(box)
            box.setAccessibleName(name)
        row.addStretch()
        self.needed.setAccessibleName("Images that are needed")
        column = QVBoxLayout(card)
        column.addWidget(self.seen)
        column.addWidget(heading)
        column.addLayout(row)
        for label in (self.needed, how):
            label.setWordWrap(True)
            column.addWidget(label)
        around = QVBoxLayout(self)
        around.setContentsMargins(0, 0, 0, 0)
        around.addWidget(card)

    def _answer(self) -> None:
        self.needed.setText(needed(self.robust.value(), self.other.value()))
        self.adjustSize()
