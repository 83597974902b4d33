"""Ctrl+K: every action by typing a part of its name."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from gui.base import theme
from gui.shell.actions import Action
from gui.widgets.inputs import LineEdit

_WIDTH = 520


class CommandPalette(QFrame):
    """A field and a list over the window; Enter does what is marked, Escape closes.

    Signals:
        chosen: the ``Action`` to do.
    """

    chosen = Signal(object)

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self._host = host
        self.setObjectName("palette")
        self.field = LineEdit()
        self.field.setPlaceholderText("Type what you want to do…")
        self.field.setAccessibleName("Search for an action")
        self.list = QListWidget()
        self.list.setAccessibleName("Matching actions")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(self.field)
        column.addWidget(self.list)
        self._actions: list[Action] = []
        self.field.textChanged.connect(self._search)
        self.field.installEventFilter(self)
        self.list.itemClicked.connect(lambda _item: self._choose())
        self.hide()

    def open(self, actions: Sequence[Action]) -> None:
        """Show these actions."""
        self._actions = list(actions)
        self.field.clear()
        self._search("")
        host = self._host
        width = min(_WIDTH, host.width() - 32)
        self.setGeometry((host.width() - width) // 2, 56, width, min(400, host.height() - 120))
        self.show()
        self.raise_()
        self.field.setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FocusOut:
            self.hide()
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._key(Qt.Key(event.key()))
        return super().eventFilter(watched, event)

    def _key(self, key: Qt.Key) -> bool:
        if key == Qt.Key.Key_Escape:
            self.hide()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._choose()
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            step = 1 if key == Qt.Key.Key_Down else -1
            self.list.setCurrentRow((self.list.currentRow() + step) % max(1, self.list.count()))
        else:
            return False
        return True

    def _search(self, text: str) -> None:
        text = text.lower()
        words = text.split()
        self.list.clear()
        for action in sorted(
            self._actions, key=lambda action: not action.text.lower().startswith(text)
        ):
            if all(word in f"{action.menu} {action.text}".lower() for word in words):
                keys = f"    {action.shortcuts[0]}" if action.shortcuts else ""
                item = QListWidgetItem(theme.icon(action.icon or "right"), action.text + keys)
                item.setData(Qt.ItemDataRole.UserRole, action)
                self.list.addItem(item)
        self.list.setCurrentRow(0)

    def _choose(self) -> None:
        item = self.list.currentItem()
        self.hide()
        if item is not None:
            self.chosen.emit(item.data(Qt.ItemDataRole.UserRole))
