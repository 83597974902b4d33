"""The diagnostics of a run as lights: each with a shape, a word, its number and its words."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from engine.report.evidence import LEVEL_ROLES, LEVEL_WORDS, Light, Summary
from gui.base import theme

_SMALL, _LARGE = 16, 24


class LightIcon(QLabel):
    """The sign of a level: another shape for each, in its colour."""

    def __init__(self, level: str, side: int = _SMALL, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._level, self._side = level, side
        self.setFixedWidth(side)
        theme.current().changed.connect(self._recolour)
        self._recolour()

    def set_level(self, level: str) -> None:
        """Show another level."""
        self._level = level
        self._recolour()

    def _recolour(self) -> None:
        icon = theme.icon(f"light-{self._level}", LEVEL_ROLES[self._level])
        self.setPixmap(icon.pixmap(QSize(self._side, self._side)))
        self.setAccessibleName(LEVEL_WORDS[self._level])
        self.setToolTip(LEVEL_WORDS[self._level].capitalize())


class SummaryBanner(QFrame):
    """The overall light and its sentence; hidden while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("message")
        self._icon = LightIcon("unknown", _LARGE, self)
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setAccessibleName("Diagnostics")
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 6, 8, 6)
        row.setSpacing(8)
        row.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.text, 1)
        self.show_summary(None)

    def show_summary(self, summary: Summary | None) -> None:
        """Say this; nothing for None."""
        self.setVisible(summary is not None)
        if summary is None:
            return
        self._icon.set_level(summary.level)
        self.text.setText(summary.text)
        self.setProperty("level", "error" if summary.level == "danger" else summary.level)
        self.style().polish(self)


class TrafficLight(QWidget):
    """A heading above one light per check, or per whatever else is judged."""

    def __init__(
        self,
        lights: Sequence[Light],
        parent: QWidget | None = None,
        title: str = "Diagnostics",
    ) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        heading = QLabel(title, self)
        heading.setProperty("role", "heading")
        column.addWidget(heading)
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        column.addLayout(grid)
        for light in lights:
            _add(self, grid, light)


def _add(host: QWidget, grid: QGridLayout, light: Light) -> None:
    row, top = grid.rowCount(), Qt.AlignmentFlag.AlignTop
    title = QLabel(light.title, host)
    title.setWordWrap(True)
    title.setAccessibleDescription(LEVEL_WORDS[light.level])
    if light.level == "unknown":
        title.setProperty("role", "muted")
    grid.addWidget(LightIcon(light.level, parent=host), row, 0, top)
    grid.addWidget(title, row, 1, top)
    below = [text for text in (_state(light), light.words) if text]
    if below:
        words = QLabel("\n".join(below), host)
        words.setProperty("role", "small")
        words.setWordWrap(True)
        words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        grid.addWidget(words, row + 1, 1)


def _state(light: Light) -> str:
    """The level in words, unless it is the good one, and the number."""
    word = "" if light.level == "ok" else LEVEL_WORDS[light.level]
    return ": ".join(filter(None, (word, light.figure)))
