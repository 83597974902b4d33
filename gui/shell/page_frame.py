"""A page with its message bar over it."""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.pages.base import Page
from gui.widgets.message_bar import Message
from gui.widgets.overlay_bar import OverlayBar


class PageFrame(QWidget):
    """Shows what the page has to say in a bar that lies over it."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page, self.bar = page, OverlayBar(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addWidget(page, 1)
        page.notify.connect(self._show)

    def _show(self, message: Message | None) -> None:
        if message is None:
            self.bar.clear()
        else:
            self.bar.show_message(message)
