"""A page with its message bar over it."""

from __future__ import annotations

from PySide6.QtWidgets import QVBoxLayout, QWidget

from gui.base.page_context import PageContext
from gui.pages.base import Page
from gui.widgets.message_bar import Message
from gui.widgets.overlay_bar import OverlayBar


class PageFrame(QWidget):
    """Shows what the page has to say in a bar that lies over it.

    A page is made from the outside in: what gets another parent is styled anew with everything
    that it holds, which takes as long as making it.

    Args:
        kind: of the page.
    """

    def __init__(self, kind: type[Page], context: PageContext, parent: QWidget) -> None:
        super().__init__(parent)
        self.bar = OverlayBar(self)
        self.page = page = kind(context, self)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.addWidget(page, 1)
        page.notify.connect(self._show)

    def _show(self, message: Message | None) -> None:
        if message is None:
            self.bar.clear()
        else:
            self.bar.show_message(message)
