"""What the engine computes on, in the status bar; a click offers the devices of this machine."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import QMenu, QToolButton, QWidget

AUTO = "auto"
_PRECISIONS = (
    (AUTO, "Search: automatic precision"),
    ("fp32", "Search in fp32"),
    ("bf16", "Search in bf16, finish in fp32"),
)


class DeviceButton(QToolButton):
    """Shows the device in words and lets another be chosen.

    Signals:
        chosen: device and precision; only if one of them is another than before.

    Attributes:
        found: names and descriptions of the devices that the engine has found.
        device: what was asked for: ``auto``, ``cpu``, ``cuda:0``...
        precision: what was asked for: ``auto``, ``fp32`` or ``bf16``.
    """

    chosen = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: tuple[tuple[str, str], ...] = ()
        self.device = self.precision = AUTO
        self.setObjectName("device")
        self.setProperty("flat", True)
        self.setAccessibleName("Device")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard to the page
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self.fill)
        self.setMenu(self._menu)
        self.say("engine is off")

    def say(self, text: str, why: str = "") -> None:
        """Show this; the tool tip says why, or what a click does."""
        self.setText(text)
        self.setToolTip(why or "The device that computes. Click to choose another.")

    def set_choice(self, device: str, precision: str) -> None:
        """What is asked for now."""
        self.device, self.precision = device, precision

    def fill(self) -> QMenu:
        """The menu, with what is known now."""
        self._menu.clear()
        self._group("device", self.device, self._devices())
        self._menu.addSeparator()
        self._group("precision", self.precision, _PRECISIONS)
        return self._menu

    def _devices(self) -> tuple[tuple[str, str], ...]:
        known = self.found or (("cpu", "cpu"),)
        if self.device not in (AUTO, *(name for name, _ in known)):
            known = (*known, (self.device, f"{self.device} (not found)"))
        return ((AUTO, "Automatic device"), *known)

    def _group(self, what: str, now: str, entries: tuple[tuple[str, str], ...]) -> None:
        group = QActionGroup(self._menu)
        for name, text in entries:
            action = self._menu.addAction(text)
            action.setCheckable(True)
            action.setChecked(name == now)
            group.addAction(action)
            action.triggered.connect(lambda _=False, name=name: self._choose(what, name))

    def _choose(self, what: str, name: str) -> None:
        if getattr(self, what) != name:
            setattr(self, what, name)
            self.chosen.emit(self.device, self.precision)
