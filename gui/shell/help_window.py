"""Help > Guides: pages of help to read beside the window."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QTextBrowser, QVBoxLayout, QWidget

from engine.host import paths
from gui.widgets.dialog import Dialog

GUIDES = {"own-model": "your own model and pictures"}
"""Files of ``resources/help`` and what they are about."""


class GuideWindow(Dialog):
    """One guide; the main window stays usable beside it, Escape closes."""

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Guide: {GUIDES[name]}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(640, 640)
        self.text = QTextBrowser()
        self.text.setAccessibleName("Guide")
        self.text.setOpenExternalLinks(True)
        self.text.document().setDocumentMargin(16)
        self.text.setMarkdown((paths.resources() / "help" / f"{name}.md").read_text("utf-8"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
