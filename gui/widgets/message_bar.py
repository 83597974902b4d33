"""A message where it belongs: above the page, with the next step and the details one key away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engine.errors import CrumpleError
from gui.base import theme
from gui.widgets.inputs import TextEdit

Level = Literal["info", "ok", "warning", "error"]
_ICONS = {"info": "help", "ok": "finished", "warning": "failed", "error": "failed"}
_ROLES = {"info": "accent", "ok": "ok", "warning": "warning", "error": "danger"}


@dataclass(frozen=True)
class Message:
    """What a person is told.

    Attributes:
        text: one sentence.
        hint: the next step.
        level: how bad it is; shown as a word to screen readers, as icon and colour to others.
        details: a traceback or the like; shown on request.
        button: label of an action that helps.
        action: what that button does.
    """

    text: str
    hint: str = ""
    level: Level = "info"
    details: str = ""
    button: str = ""
    action: Callable[[], None] | None = None

    @classmethod
    def of(cls, error: CrumpleError) -> Message:
        """The message of an error that a person can mend."""
        return cls(error.message, error.hint, "error")


class MessageBar(QFrame):
    """Shows one message at a time; hidden when there is none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("message")
        self.message: Message | None = None
        self._icon, self._text = QLabel(self), QLabel(self)
        self._text.setWordWrap(True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._action, self._more = QPushButton(self), QPushButton("Details", self)
        self._action.hide()
        self._more.setCheckable(True)
        self._close = QToolButton(self)
        self._close.setProperty("flat", True)
        self._close.setAccessibleName("Dismiss this message")
        self._details = TextEdit(self)
        self._details.setReadOnly(True)
        self._details.setAccessibleName("Details of the message")
        self._details.setMaximumHeight(160)
        self._lay_out()
        self._action.clicked.connect(self._act)
        self._more.toggled.connect(self._details.setVisible)
        self._close.clicked.connect(self.clear)
        theme.current().changed.connect(self._recolour)
        self.clear()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._text, 1)
        for widget in (self._action, self._more, self._close):
            row.addWidget(widget, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 8, 8)
        column.addLayout(row)
        column.addWidget(self._details)

    def show_message(self, message: Message) -> None:
        """Replace what is shown."""
        self.message = message
        self.setProperty("level", message.level)
        self.style().polish(self)
        self._text.setText(f"{message.text} {message.hint}".strip())
        self.setAccessibleName(f"{message.level}: {self._text.text()}")
        self._action.setText(message.button)
        self._action.setVisible(bool(message.button))
        self._more.setChecked(False)
        self._more.setVisible(bool(message.details))
        self._details.setPlainText(message.details)
        self._details.hide()
        self._recolour()
        self.show()

    def clear(self) -> None:
        """Show nothing."""
        self.message = None
        self.hide()

    def _act(self) -> None:
        action = self.message.action if self.message else None
        self.clear()
        if action:
            action()

    def _recolour(self) -> None:
        self._close.setIcon(theme.icon("close"))
        if self.message:
            level = self.message.level
            shown = theme.icon(_ICONS[level], _ROLES[level])
            self._icon.setPixmap(shown.pixmap(QSize(20, 20)))
