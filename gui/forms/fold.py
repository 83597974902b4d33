"""A heading that opens and closes what stands below it."""

from __future__ import annotations

from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from gui.widgets.icon_button import TextButton


class Fold(QWidget):
    """Contents under a heading, closed at first; the heading says how much there is.

    Args:
        title: of the heading.
        inside: what is folded away.
        whose: what it belongs to, for screen readers.
    """

    def __init__(self, title: str, inside: QWidget, whose: str) -> None:
        super().__init__()
        self._title, self._whose, self._inside, self._count = title, whose, inside, ""
        self.heading = TextButton("folded", title)
        self.heading.setProperty("flat", True)
        self.heading.setProperty("heading", True)
        # A long count gives way in a narrow column, instead of widening the window.
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.heading)
        column.addWidget(inside)
        self.heading.clicked.connect(lambda: self.open(not self.is_open))
        self.open(False)

    @property
    def is_open(self) -> bool:
        """Whether the contents are shown."""
        return not self._inside.isHidden()

    def open(self, is_open: bool) -> None:
        """Show or hide the contents."""
        self._inside.setVisible(is_open)
        self.heading.set_icon("unfolded" if is_open else "folded")
        self.tell(self._count)

    def tell(self, count: str) -> None:
        """Say how much is inside, in brackets behind the title."""
        self._count = count
        self.heading.setText(f"{self._title}  ({count})" if count else self._title)
        self.heading.setToolTip(self.heading.text())
        state = "open" if self.is_open else "closed"
        self.heading.setAccessibleName(f"{self._whose}: {self.heading.text()}, {state}")
