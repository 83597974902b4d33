"""The question before the window closes while something works: what stays, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox, QWidget

from gui.bridge.engine_client import QtEngineClient


def unfinished(client: QtEngineClient, *, importing: bool, downloading: bool) -> list[str]:
    """What works now and what closing does to it, a sentence each."""
    lines = []
    if client.running is not None:
        lines.append(
            f"Run {client.running} is running. All that it has finished is stored; the next time "
            "it waits in the queue, and Resume goes on with it."
        )
    elif client.transferring is not None:
        lines.append(
            "Examples are being tried on the other variants. What is judged is stored; Resume "
            "goes on with the rest the next time."
        )
    elif client.planning.studies:
        lines.append(
            f"“{client.planning.studies[0]}” is still being planned and would not be in the "
            "queue; the draft in New stays."
        )
    if importing:
        lines.append("A model is being imported. Nothing of it is kept: import it again.")
    if downloading:
        lines.append("Something is being downloaded. Downloading it again goes on from there.")
    return lines


def ask(window: QWidget, lines: Sequence[str], leave: Callable[[], None]) -> QMessageBox:
    """Ask without holding up the window; ``leave`` is called if the answer is to go."""
    box = QMessageBox(window)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Quit Crumple")
    box.setText("Crumple is still working.")
    box.setInformativeText("\n\n".join(lines))
    go = box.addButton("Quit and continue later", QMessageBox.ButtonRole.AcceptRole)
    stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)
    box.buttonClicked.connect(lambda button: leave() if button is go else None)
    box.open()
    return box
