"""How parts of a form lie."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

_BETWEEN = 4


def stack(host: QWidget, *parts: QWidget | QHBoxLayout) -> QVBoxLayout:
    """Lay parts of a form close below each other, without a margin around them."""
    column = QVBoxLayout(host)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(_BETWEEN)
    for part in parts:
        if isinstance(part, QWidget):
            column.addWidget(part)
        else:
            column.addLayout(part)
    return column
