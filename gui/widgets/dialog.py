"""A window beside the main one in which no key does by accident what a button is for."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialog, QWidget

from gui.widgets.inputs import takes_text

_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class Dialog(QDialog):
    """Enter presses the button that has the keyboard and no other; Escape leaves a field first.

    Qt makes one of the buttons of a dialog the one that Enter presses wherever the keyboard
    is, also from within a field and also the button of a message that has just appeared.
    """

    def keyPressEvent(self, event: QKeyEvent) -> None:
        focus = QApplication.focusWidget()
        inside = focus if focus is not None and self.isAncestorOf(focus) else None
        if event.key() in _ENTER:
            if isinstance(inside, QAbstractButton) and not event.modifiers():
                inside.click()
        elif event.key() == Qt.Key.Key_Escape and takes_text(inside):
            self.leave_field(inside)
        else:
            super().keyPressEvent(event)

    def leave_field(self, field: QWidget | None) -> None:
        """Take the keyboard out of a field without closing the window."""
        self.setFocus(Qt.FocusReason.OtherFocusReason)
