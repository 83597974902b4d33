"""The import dialog, open and in front."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gui.base.page_context import PageContext
from gui.library.import_dialog import ImportDialog


@pytest.fixture
def dialog(qtbot: QtBot, context: PageContext) -> ImportDialog:
    """It stays when it is closed, so that a test can look at it."""
    dialog = ImportDialog(context)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    with qtbot.waitActive(dialog):
        dialog.show()
        dialog.activateWindow()
    return dialog
