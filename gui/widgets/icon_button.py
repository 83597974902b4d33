"""Buttons whose icons follow the theme."""

from __future__ import annotations

from PySide6.QtWidgets import QPushButton, QToolButton, QWidget

from gui.base import theme


class IconButton(QToolButton):
    """A flat button with an icon only; ``name`` is what screen readers and tool tips say."""

    def __init__(self, icon: str, name: str) -> None:
        super().__init__()
        self._icon = icon
        self.setProperty("flat", True)
        self.setAccessibleName(name)
        self.setToolTip(name)
        theme.current().changed.connect(self._recolour)
        self._recolour()

    def _recolour(self) -> None:
        self.setIcon(theme.icon(self._icon, "muted"))


class TextButton(QPushButton):
    """A button with an icon before its text."""

    def __init__(
        self, icon: str, text: str, parent: QWidget | None = None, *, primary: bool = False
    ) -> None:
        super().__init__(text, parent)
        self._icon, self._primary = icon, primary
        self.setProperty("primary", primary)
        theme.current().changed.connect(self._recolour)
        self._recolour()

    def set_icon(self, icon: str) -> None:
        """Show another icon."""
        self._icon = icon
        self._recolour()

    def _recolour(self) -> None:
        self.setIcon(theme.icon(self._icon, "on_accent" if self._primary else "text"))
