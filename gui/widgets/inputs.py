"""Fields that keep to themselves: a file dropped on one is the window's affair, unless it asks
for a path, and the wheel scrolls what a field stands in until the field has the keyboard.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QSize, Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QKeySequence, QShortcut, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QLineEdit,
    QPlainTextEdit,
    QSpinBox,
    QTextEdit,
    QWidget,
)

_LEAST_WIDTH = 56
WITHIN = Qt.ShortcutContext.WidgetWithChildrenShortcut
Keys = QKeySequence | QKeySequence.StandardKey | Qt.Key | str


def add_key(widget: QWidget, keys: Keys, slot: object, *, within: bool = False) -> QShortcut:
    """Let keys do something while a widget has the keyboard; ``within``: or a part of it has.

    PySide6 6.10 ignores a ``context`` that is given to the constructor of ``QShortcut``, which
    makes the keys work in the whole window, so every shortcut comes from here.
    """
    shortcut = QShortcut(QKeySequence(keys), widget)
    shortcut.setContext(WITHIN if within else Qt.ShortcutContext.WidgetShortcut)
    shortcut.activated.connect(slot)
    return shortcut


def takes_text(widget: QWidget | None) -> bool:
    """Whether what is typed goes into this widget as text."""
    if isinstance(widget, QComboBox):
        return widget.isEditable()
    if isinstance(widget, QLineEdit | QPlainTextEdit | QTextEdit | QAbstractSpinBox):
        return not widget.isReadOnly()
    return False


def dropped_path(data: QMimeData) -> Path | None:
    """The one file or folder of this machine that is dragged."""
    paths = dropped_paths(data)
    return paths[0] if len(paths) == 1 else None


def dropped_paths(data: QMimeData) -> list[Path]:
    """All files and folders that are dragged; none if one is not of this machine."""
    urls = data.urls() if data.hasUrls() else []
    if not all(url.isLocalFile() for url in urls):
        return []
    return [Path(url.toLocalFile()) for url in urls]


class LineEdit(QLineEdit):
    """A line of text."""

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        # Ignored, it goes on to what the field stands in, at last the window.
        event.ignore() if event.mimeData().hasUrls() else super().dragEnterEvent(event)


class PathEdit(LineEdit):
    """The path of a file or folder; one that is dropped here is meant."""

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_path(event.mimeData()) is None:
            super().dragEnterEvent(event)
        else:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = dropped_path(event.mimeData())
        if path is None:
            super().dropEvent(event)
            return
        event.acceptProposedAction()
        self.setText(str(path))
        self.textEdited.emit(self.text())


class TextEdit(QPlainTextEdit):
    """Several lines of text; Tab leaves it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTabChangesFocus(True)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        event.ignore() if event.mimeData().hasUrls() else super().dragEnterEvent(event)


class SpinBox(QSpinBox):
    """A whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.lineEdit().setAcceptDrops(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        super().wheelEvent(event) if self.hasFocus() else event.ignore()

    def minimumSizeHint(self) -> QSize:
        return _narrow(super().minimumSizeHint())


class PercentBox(QDoubleSpinBox):
    """A share in percent."""

    def __init__(self) -> None:
        super().__init__()
        self.setRange(0, 100)
        self.setDecimals(1)
        self.setSuffix(" %")
        self.lineEdit().setAcceptDrops(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def textFromValue(self, value: float) -> str:
        return f"{value:g}"

    def wheelEvent(self, event: QWheelEvent) -> None:
        super().wheelEvent(event) if self.hasFocus() else event.ignore()


class ComboBox(QComboBox):
    """One of several."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        super().wheelEvent(event) if self.hasFocus() else event.ignore()

    def minimumSizeHint(self) -> QSize:
        return _narrow(super().minimumSizeHint())


def _narrow(hint: QSize) -> QSize:
    """In a narrow column a field shows a part, instead of pushing all else out of it."""
    return QSize(min(hint.width(), _LEAST_WIDTH), hint.height())
