"""The actions as Qt knows them: one QAction each, in the menu bar, with their shortcuts."""

from __future__ import annotations

from itertools import pairwise

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QApplication, QMenu, QWidget

from gui.base import theme
from gui.shell.actions import ACTIONS, MENUS, Action
from gui.shell.window import Window
from gui.widgets.inputs import takes_text


class Menus(QObject):
    """The menu bar of a window."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window
        self.actions: dict[str, QAction] = {action.id: self._make(action) for action in ACTIONS}
        self.menus: dict[str, QMenu] = {}
        for title in MENUS:
            self.menus[title] = window.menuBar().addMenu(f"&{title}")
            self._fill(self.menus[title], title)
        theme.current().changed.connect(self._recolour)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._share_keys)

    def trigger(self, action: Action) -> None:
        """Do it, if it makes sense now."""
        if action.enabled(self._window):
            action.run(self._window)

    def _make(self, action: Action) -> QAction:
        made = QAction(action.text, self._window)
        made.setShortcuts([QKeySequence(text) for text in action.shortcuts])
        made.setCheckable(action.checked is not None)
        if action.icon and action.checked is None:
            made.setIcon(theme.icon(action.icon))
        made.triggered.connect(lambda: self.trigger(action))
        self._window.addAction(made)
        return made

    def _fill(self, menu: QMenu, title: str) -> None:
        mine = [action for action in ACTIONS if action.menu == title]
        for before, action in pairwise([mine[0], *mine]):
            if before.group != action.group:
                menu.addSeparator()
            menu.addAction(self.actions[action.id])
        # A disabled QAction would lose its shortcut until the menu is opened again, so the
        # state is shown only while a menu is open; ``trigger`` asks again.
        menu.aboutToShow.connect(lambda: self._show_state(mine))
        menu.aboutToHide.connect(lambda: self._allow(mine))

    def _show_state(self, actions: list[Action]) -> None:
        for action in actions:
            made = self.actions[action.id]
            made.setEnabled(action.enabled(self._window))
            if action.checked:
                made.setChecked(action.checked(self._window))

    def _allow(self, actions: list[Action]) -> None:
        # aboutToHide comes before triggered; the click of an enabled entry still arrives.
        for action in actions:
            self.actions[action.id].setEnabled(True)

    def _share_keys(self, _before: QWidget | None, now: QWidget | None) -> None:
        """While a field has the keyboard, undoing is about what is typed in it."""
        for action in ACTIONS:
            if action.id in ("undo", "redo"):
                keys = () if takes_text(now) else action.shortcuts
                self.actions[action.id].setShortcuts([QKeySequence(text) for text in keys])

    def _recolour(self) -> None:
        for action in ACTIONS:
            if action.icon and action.checked is None:
                self.actions[action.id].setIcon(theme.icon(action.icon))
