"""Published weights on their way into the library: fetched, examined by the doctor, stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from engine.catalog.models.published import PublishedWeights
from gui.base.offer_words import progress
from gui.bridge.import_process import ImportProcess
from gui.bridge.pace import Pace
from gui.widgets.layouts import stack
from gui.widgets.note_line import NoteLine

if TYPE_CHECKING:
    from engine.importing.report import Report

_UNIT = 1024  # a progress bar counts in 32 bits
_WHOLE = 100
_WAITS = "Waits for the download before it."


class WeightsDownload(QWidget):
    """One model: how far it is, Stop, and after a failure why and the way on.

    Args:
        weights: which.
        arguments: the command line, after the executable, that imports it.

    Signals:
        changed: it is at another stage, or further.
        over: it works no longer, whatever came of it.
        arrived: the id under which it is in the library now.
        dismissed: it was given up.
    """

    changed = Signal()
    over = Signal()
    arrived = Signal(str)
    dismissed = Signal()

    def __init__(self, weights: PublishedWeights, arguments: Sequence[str]) -> None:
        super().__init__()
        self.weights, self._arguments = weights, list(arguments)
        self._process: ImportProcess | None = None
        self._pace = Pace()
        self.wants = True
        self.stage = "waiting"
        self.title = QLabel(weights.name)
        self.note = NoteLine(f"Download of {weights.name}")
        self.bar = QProgressBar()
        self.bar.setAccessibleName(f"Progress of the download of {weights.name}")
        self.button, self.dismiss = QPushButton("Stop"), QPushButton("Dismiss")
        self._lay_out()
        self.button.clicked.connect(self._press)
        self.dismiss.clicked.connect(self._dismiss)
        self.bar.hide()
        self._at("waiting", _WAITS)

    def _lay_out(self) -> None:
        self.title.setToolTip(self.weights.name)
        self.title.setProperty("role", "heading")
        self.button.setAccessibleName(f"Stop or go on with the download of {self.weights.name}")
        self.dismiss.setAccessibleName(f"Dismiss the download of {self.weights.name}")
        self.dismiss.setToolTip("Take it off this list; what came stays for another time.")
        buttons = QHBoxLayout()
        buttons.addWidget(self.button)
        buttons.addWidget(self.dismiss)
        buttons.addStretch()
        stack(self, self.title, self.bar, self.note, buttons)

    @property
    def running(self) -> bool:
        """Whether a process works on it."""
        return self._process is not None

    def start(self) -> None:
        """Begin, or go on."""
        self._pace = Pace()
        self._process = ImportProcess(self._arguments, self)
        self._process.arriving.connect(self._arriving)
        self._process.told.connect(self._told)
        self._process.finished.connect(self._finished)
        self._process.refused.connect(self._refused)
        self.bar.setRange(0, 0)
        self.bar.setFormat("")
        self.bar.show()
        self._at("starting", "Looking for what is there already ...")
        self._process.start()

    def stop(self) -> None:
        """End it, or do not begin; what came stays."""
        self.wants = False
        if self._process is not None:
            self._process.stop()
        else:
            self._at("stopped", "Stopped before it began.")

    def _press(self) -> None:
        if self.wants:
            self.stop()
        else:
            self.wants = True
            self._at("waiting", _WAITS)
            self.over.emit()  # whoever starts them looks again

    def _dismiss(self) -> None:
        self.stop()
        self.dismissed.emit()

    def _at(self, stage: str, text: str, role: str = "muted") -> None:
        self.stage = stage
        self.note.tell(text, role)
        self.button.setText("Stop" if self.wants else "Try again")
        self.dismiss.setVisible(not self.wants)
        self.changed.emit()

    def _arriving(self, done: int, total: int) -> None:
        rate = self._pace.note(done, time.monotonic())
        self.bar.setRange(0, total // _UNIT)
        self.bar.setValue(done // _UNIT)
        share = f"{_WHOLE * done // total} %" if total else "downloading"
        self._at(share, progress(done, total, rate))

    def _told(self, doing: str, share: float) -> None:
        """What the doctor does; of a download the bytes say more."""
        if share < 0:
            self.bar.setRange(0, 0)
            self._at("being examined", doing)

    def _finished(self, report: Report) -> None:
        self._ended()
        if report.model:
            self.arrived.emit(report.model)
        else:
            self._at(
                "not healthy",
                f"Not put into the library: {report.verdict} To see the report, or to keep it all "
                f"the same, import {self.weights.name} with File > Import model….",
                "error",
            )
        self.over.emit()

    def _refused(self, reason: str, _field: str) -> None:
        self._ended()
        if reason:
            self._at("failed", reason, "error")
        else:
            self._at("stopped", "Stopped; it goes on from there.")
        self.over.emit()

    def _ended(self) -> None:
        self._process, self.wants = None, False
        self.bar.hide()
