"""The left rail: six pages, and how many runs wait."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QLabel, QToolButton, QVBoxLayout, QWidget

from gui.base import theme
from gui.pages import PAGES


class Rail(QWidget):
    """One button per page.

    Signals:
        chosen: the id of the page that was asked for.
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("rail")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._group = QButtonGroup(self)
        self.buttons: dict[str, QToolButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(4)
        for number, (page_id, entry) in enumerate(PAGES.items(), 1):
            button = self._button(page_id, f"{entry.hint} (Ctrl+{number})")
            column.addWidget(button)
        column.addStretch()
        self._badge = QLabel(self.buttons["queue"])
        self._badge.setObjectName("badge")
        self._badge.hide()
        self.buttons["queue"].installEventFilter(self)
        theme.current().changed.connect(self._recolour)
        self._recolour()

    def _button(self, page_id: str, tip: str) -> QToolButton:
        button = QToolButton()
        button.setText(PAGES[page_id].title)
        button.setAccessibleName(f"{PAGES[page_id].title} page")
        button.setToolTip(tip)
        button.setCheckable(True)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setIconSize(QSize(24, 24))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.clicked.connect(lambda: self.chosen.emit(page_id))
        self._group.addButton(button)
        self.buttons[page_id] = button
        return button

    def set_page(self, page_id: str) -> None:
        """Mark the page that is shown."""
        self.buttons[page_id].setChecked(True)
        self._recolour()

    def set_waiting(self, count: int) -> None:
        """Show how many runs wait; nothing for 0."""
        self._badge.setText(str(count) if count < 1000 else "999+")
        self._badge.setVisible(count > 0)
        waiting = f", {count} waiting" if count else ""
        self.buttons["queue"].setAccessibleName(f"Queue page{waiting}")
        self._place_badge()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._place_badge()
        return super().eventFilter(watched, event)

    def _place_badge(self) -> None:
        self._badge.adjustSize()
        self._badge.move(self.buttons["queue"].width() - self._badge.width() - 6, 4)

    def _recolour(self) -> None:
        for page_id, button in self.buttons.items():
            role = "accent" if button.isChecked() else "muted"
            button.setIcon(theme.icon(PAGES[page_id].icon, role))
