"""Help > Guide: the pages of documentation, to read beside the window."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import (
    QDesktopServices,
    QImage,
    QResizeEvent,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import QHBoxLayout, QTextBrowser, QVBoxLayout, QWidget

from engine.host import paths
from gui.widgets.dialog import Dialog
from gui.widgets.icon_button import IconButton, TextButton

_MARGIN = 16


def slug(heading: str) -> str:
    """What links call a heading: its words in small letters, joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


class PageBrowser(QTextBrowser):
    """Shows pages of documentation, with pictures no wider than itself.

    Links between pages stay inside, others open where the system opens them.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Guide")
        self.setOpenLinks(False)
        self.document().setDocumentMargin(_MARGIN)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.anchorClicked.connect(self._follow)

    def open(self, name: str) -> None:
        """Show a page by its name."""
        self.setSource(QUrl.fromLocalFile(str(paths.documentation() / f"{name}.md")))

    def _follow(self, link: QUrl) -> None:
        address = self.source().resolved(link)
        if address.isLocalFile():
            self.setSource(address)
        else:
            QDesktopServices.openUrl(address)

    def doSetSource(
        self,
        name: QUrl | str,
        /,
        type: QTextDocument.ResourceType = QTextDocument.ResourceType.UnknownResource,
    ) -> None:
        """See Qt; goes to the heading that the address names, as Markdown has no anchors."""
        super().doSetSource(name, type)
        wanted, block = QUrl(name).fragment(), self.document().begin()
        while wanted and block.isValid():
            if block.blockFormat().headingLevel() and slug(block.text()) == wanted:
                self.moveCursor(QTextCursor.MoveOperation.End)  # the heading is to stand on top
                self.setTextCursor(QTextCursor(block))
                return
            block = block.next()

    def loadResource(self, type: int, name: QUrl | str) -> Any:
        """See Qt; pictures are made to fit."""
        if type != QTextDocument.ResourceType.ImageResource.value:
            return super().loadResource(type, name)
        image = QImage(self.source().resolved(QUrl(name)).toLocalFile())
        room = self.viewport().width() - 2 * _MARGIN
        if image.width() <= room:
            return image
        return image.scaledToWidth(room, Qt.TransformationMode.SmoothTransformation)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """See Qt; pictures are fitted anew."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.reload()


class GuideWindow(Dialog):
    """The pages with their links; the main window stays usable beside it, Escape closes."""

    def __init__(self, name: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(760, 720)
        self.text = PageBrowser()
        self.text.historyChanged.connect(self._tell)
        self.back, self.forward = IconButton("left", "Back"), IconButton("right", "Forward")
        self.contents = TextButton("help", "Contents")
        self.back.clicked.connect(self.text.backward)
        self.forward.clicked.connect(self.text.forward)
        self.contents.clicked.connect(lambda: self.text.open("index"))
        row = QHBoxLayout()
        row.setContentsMargins(8, 8, 8, 0)
        for button in (self.back, self.forward, self.contents):
            row.addWidget(button)
        row.addStretch()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.text)
        self.text.open(name)
        self._tell()
        self.text.setFocus()

    def _tell(self) -> None:
        self.back.setEnabled(self.text.isBackwardAvailable())
        self.forward.setEnabled(self.text.isForwardAvailable())
        title = self.text.document().firstBlock().text()
        self.setWindowTitle(f"Guide: {title}")
