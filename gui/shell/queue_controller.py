"""Stop, skip, resume, and what the engine computes on: from menus, status bar and messages."""

from __future__ import annotations

from PySide6.QtCore import QObject

from gui.base.page_context import PageContext
from gui.shell.status_bar import StatusBar
from gui.shell.toast import Toast
from gui.widgets.message_bar import Message

DEVICE, PRECISION = "engine/device", "engine/precision"
"""Settings: what the engine is started with."""


class QueueController(QObject):
    """Tells the engine, and shows in the status bar and in a message what comes of it."""

    def __init__(self, context: PageContext, status: StatusBar, toast: Toast) -> None:
        super().__init__(status)
        self._context, self._status, self._toast = context, status, toast
        status.stop.connect(self.stop)
        status.resume.connect(self.resume)
        status.device.chosen.connect(self.use_device)

    def stop(self) -> None:
        """Stop what runs and begin nothing else; what it has finished stays."""
        client = self._context.client
        if client.busy:
            client.halt()
            self._status.set_stopping()
        if client.running is None and client.transferring is not None:
            self.say_stopped("The transfer of examples was stopped, and the queue is paused.")

    def say_stopped(self, text: str) -> None:
        """Say what was stopped, and offer to go on."""
        hint = "All that was finished is stored; Resume goes on from there."
        self._toast.show_message(Message(text, hint, button="Resume", action=self.resume))

    def skip(self) -> None:
        """Cancel what runs; the queue goes on with the next run."""
        client = self._context.client
        if client.running is not None:
            client.cancel([client.running])
            self._status.set_stopping()

    def pause(self) -> None:
        """Take no new run; the one that runs is finished first."""
        self._context.client.pause(True)

    def resume(self) -> None:
        """Go on with what waits."""
        self._context.client.pause(False)

    def choose_device(self) -> None:
        """Offer the devices of this machine."""
        self._status.device.showMenu()

    def use_device(self, device: str, precision: str) -> None:
        """Compute there, now and when the window opens again."""
        self._context.settings.setValue(DEVICE, device)
        self._context.settings.setValue(PRECISION, precision)
        self._status.set_starting()
        self._context.client.use(device, precision)
