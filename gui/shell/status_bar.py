"""The bar at the bottom: device, what runs, how far it is, how long it takes, Stop."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from engine import events
from gui.base import theme
from gui.base.model_names import model_title
from gui.base.words import duration
from gui.bridge.engine_client import QtEngineClient
from gui.shell.device_button import DeviceButton
from gui.shell.elided_label import ElidedLabel

_STEPS = 1000


class StatusBar(QFrame):
    """Always in sight.

    Signals:
        stop: the queue and what runs shall stop.
        resume: the queue shall go on.
    """

    stop = Signal()
    resume = Signal()

    def __init__(self, client: QtEngineClient, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("statusbar")
        self._client = client
        self._waiting = 0
        self._title = ""
        self._run_left: float | None = None
        self.device = DeviceButton()
        self.job = ElidedLabel()
        self.progress = QProgressBar()
        self.progress.setRange(0, _STEPS)
        self.progress.setFixedWidth(200)
        self.progress.setAccessibleName("Progress of the running run")
        self.left = QLabel()
        self.left.setMinimumWidth(72)
        self.overall = QProgressBar()
        self.overall.setFixedWidth(120)
        self.overall.setAccessibleName("Progress of the queue")
        self.overall.setToolTip("Ended runs of the studies in the queue, and the time they need.")
        self.overall_left = QLabel()
        self.overall_left.setMinimumWidth(104)
        self.resume_button = QPushButton("Resume")
        self.resume_button.setAccessibleName("Resume the queue")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setAccessibleName("Stop the queue")
        self.stop_button.setToolTip(
            "Stop the queue (Ctrl+.): what runs keeps what it has finished and waits."
        )
        # A click must not take the keyboard away from the page.
        for button in (self.resume_button, self.stop_button):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._lay_out()
        self.stop_button.clicked.connect(self.stop)
        self._run_parts = (self.progress, self.left, self.overall, self.overall_left)
        self.resume_button.clicked.connect(self.resume)
        client.happened.connect(self.handle)
        client.planned.connect(self._show_plan)
        theme.current().changed.connect(self._recolour)
        self._recolour()
        self._show_idle()

    def _lay_out(self) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 8, 4)
        row.setSpacing(12)
        row.addWidget(self.device)
        row.addWidget(self.job, 1)
        for widget in (
            self.progress,
            self.left,
            self.overall,
            self.overall_left,
            self.resume_button,
            self.stop_button,
        ):
            row.addWidget(widget)

    def set_starting(self) -> None:
        """The worker is being started."""
        self.device.say("starting engine…")

    def set_stopping(self) -> None:
        """The queue was asked to stop."""
        self.left.setText("stopping…")
        self.stop_button.setEnabled(False)

    def set_counts(self, waiting: int, ended: int, runs: int) -> None:
        """How many runs wait, and how many of the runs of the queue's studies have ended."""
        self._waiting = waiting
        self.overall.setRange(0, max(runs, 1))
        self.overall.setValue(ended)
        self.overall.setFormat(f"{ended} / {runs} runs")
        self._show_queue_left()
        if not self._client.busy:
            self._show_idle()

    def handle(self, event: events.Event) -> None:
        """Follow the running run."""
        match event:
            case events.WorkerReady():
                self.device.say(event.description)
                self.device.found = event.devices
            case events.WorkerDied():
                self.device.say(
                    "engine is off" if event.final else "restarting engine…", event.reason
                )
                self._show_idle()
            case events.RunStarted():
                self._show_running(f"#{event.run_id}  {model_title(event.model)} · {event.method}")
                self._show_progress(event.done, event.total, event.done / max(event.total, 1))
            case (
                events.StageStarted()
                | events.EpochFinished()
                | events.RunProgress()
                | events.CheckProgress()
            ):
                self._moved(event)
            case events.StudyStage() if event.detail:
                self._show_running(f"transfer: {event.detail}")
                self.progress.setValue(round(_STEPS * event.done / max(event.total, 1)))
                self.progress.setFormat(f"{event.done} / {event.total} pairs")
            case events.StudyStage():
                self._show_idle()
            case events.RunFinished() | events.RunFailed() | events.RunCancelled():
                self._show_idle()
            case events.QueueChanged() if not self._client.busy:
                self._show_idle()

    def _moved(self, event: events.RunEvent) -> None:
        match event:
            case events.StageStarted():
                self._name_stage(event)
            case events.EpochFinished():
                self._trained(event)
            case events.RunProgress():
                self._progressed(event)
            case events.CheckProgress():
                self._checked(event)

    def _name_stage(self, event: events.StageStarted) -> None:
        detail = f" {event.detail}" if event.detail else ""
        if self.stop_button.isEnabled():
            self.left.setText(event.stage)
        self.left.setToolTip(f"{event.stage}{detail}")
        self._name_part(event.detail if event.stage == "compression" else "")

    def _trained(self, event: events.EpochFinished) -> None:
        """Training has a bar of its own, and a time that is its step's and not the run's."""
        done, total = event.at.done, event.at.expected
        self.progress.setValue(round(_STEPS * done / total))
        self.progress.setFormat(f"epoch {done} / {total}")
        self._name_part(event.at.name)
        if self.stop_button.isEnabled():
            self.left.setText(f"training: {duration(event.seconds_left)} left")

    def _progressed(self, event: events.RunProgress) -> None:
        self._show_progress(event.done, event.total, event.share)
        self._name_part(event.part)
        self._show_left(event.seconds_left)

    def _checked(self, event: events.CheckProgress) -> None:
        """A check has a bar of its own; after the attack its time is that of the run."""
        self.progress.setValue(round(_STEPS * event.share))
        self.progress.setFormat(f"check {event.share:.0%}")
        if event.before:
            self._name_part(f"check of its {event.detail}")
            left = duration(event.seconds_left)
            if left and self.stop_button.isEnabled():
                self.left.setText(f"check: {left} left")
            return
        self._name_part(f"check with {event.detail}")
        self._show_left(event.seconds_left)

    def _show_left(self, seconds: float | None) -> None:
        left = duration(seconds)
        if self.stop_button.isEnabled():
            self.left.setText(f"{left} left" if left else "")
        self._run_left = seconds
        self._show_queue_left()

    def _show_running(self, title: str) -> None:
        self._title = title
        self._name_part("")
        self.left.setText("")
        self._run_left = None
        for widget in self._run_parts:
            widget.show()
        self.stop_button.setEnabled(True)
        self.resume_button.hide()

    def _name_part(self, part: str) -> None:
        """Say which attack of several in a row is at work."""
        text = f"{self._title}: {part}" if part else self._title
        self.job.setText(text)
        self.job.setToolTip(text)

    def _show_progress(self, done: int, total: int, share: float) -> None:
        self.progress.setValue(round(_STEPS * share))
        self.progress.setFormat(f"{done} / {total} images")

    def _show_queue_left(self) -> None:
        seconds = self._client.queue_time.queue_left(self._waiting, self._run_left)
        self.overall_left.setText(f"{duration(seconds)} in all" if seconds is not None else "")

    def _show_plan(self) -> None:
        if not self._client.busy:
            self._show_idle()

    def _show_idle(self) -> None:
        plan = self._client.planning.words()
        paused = self._client.paused and self._waiting > 0
        runs = f"{self._waiting} run{'' if self._waiting == 1 else 's'} waiting"
        if plan:
            self.job.setText(f"{plan}…")
        elif paused:
            self.job.setText(f"paused: {runs}")
        else:
            self.job.setText(runs if self._waiting else "nothing to do")
        self.job.setToolTip(plan)
        for widget in self._run_parts:
            widget.hide()
        self.resume_button.setVisible(paused and not plan)
        self.stop_button.setEnabled(False)

    def _recolour(self) -> None:
        self.stop_button.setIcon(theme.icon("stop"))
        self.resume_button.setIcon(theme.icon("play"))
