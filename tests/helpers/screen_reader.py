"""What a screen reader would find."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QPlainTextEdit,
    QWidget,
)

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
)


def _is_part(one: QWidget | None) -> bool:
    above = one.parentWidget() if one else None
    return above is not None and (
        isinstance(above, QAbstractSpinBox | QComboBox | QAbstractItemView) or _is_part(above)
    )


def nameless(page: QWidget) -> list[str]:
    """Controls that a screen reader could not name; parts of a control are not controls."""
    return [
        f"{type(one).__name__} in {type(one.parentWidget()).__name__}"
        for one in page.findChildren(QWidget)
        if isinstance(one, CONTROLS)
        and not isinstance(one, QHeaderView)
        and one.focusPolicy() != Qt.FocusPolicy.NoFocus
        and not one.isHidden()
        and not _is_part(one)
        and not one.accessibleName()
        and not (isinstance(one, QAbstractButton) and one.text())
    ]
