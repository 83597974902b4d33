"""The engine as seen by the window: events as signals, at most 20 times a second."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, QTimer, Signal

from engine import events
from engine.process.client import EngineClient
from engine.specs.study import Study
from gui.bridge.planning import Planning
from gui.bridge.queue_time import QueueTime

DRAIN_MS = 50
CHANGE_MS = 250


class QtEngineClient(QObject):
    """Turns engine events into signals; everything else goes to the engine as it is.

    Signals:
        happened: one engine event (``engine.events``), coalesced per run.
        rows_changed: rows in the database changed; at most four times a second.
        planned: what ``planning`` says has changed.

    Attributes:
        progress: where each running run stands, attacking or training.
        told: what the running run has told so far, for a page that opens late; of the messages
            that replace each other the last one.
        planning: what is being done between a start and the first run.
    """

    happened = Signal(object)
    rows_changed = Signal()
    planned = Signal()

    def __init__(self, client: EngineClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = client
        self.paused = True
        self.device = ""
        self.running: int | None = None
        self.transferring: int | None = None
        self.progress: dict[
            int, events.RunProgress | events.EpochFinished | events.CheckProgress
        ] = {}
        self.told: list[events.RunEvent] = []
        self.queue_time = QueueTime()
        self.planning = Planning()
        self._drain_timer = QTimer(self)
        self._drain_timer.setInterval(DRAIN_MS)
        self._drain_timer.timeout.connect(self._drain)
        self._change_timer = QTimer(self)
        self._change_timer.setInterval(CHANGE_MS)
        self._change_timer.setSingleShot(True)
        self._change_timer.timeout.connect(self.rows_changed)

    @property
    def busy(self) -> bool:
        """Whether a run, or the transfer stage of a study, is being computed."""
        return self.running is not None or self.transferring is not None

    def start(self) -> None:
        """Start the worker in the background and begin to listen."""
        self.planning.starting = True
        self._client.start()
        self._drain_timer.start()

    def close(self) -> None:
        """Stop listening, end the worker; what runs is kept for the next start."""
        self._drain_timer.stop()
        self._change_timer.stop()
        self._client.close()

    def submit(self, study: Study) -> None:
        """Queue a study; answered by ``StudyQueued`` or ``StudyRefused``."""
        self.planning.submitted(study.name)
        self._client.submit(study)
        self.planned.emit()

    def cancel(self, run_ids: Sequence[int]) -> None:
        """Stop these runs, waiting or running."""
        self._client.cancel(run_ids)

    def retry(self, run_ids: Sequence[int]) -> None:
        """Put failed or cancelled runs back into the queue."""
        self._client.retry(run_ids)

    def pause(self, paused: bool) -> None:
        """Take no new run, or go on; a running run is finished first."""
        self._client.pause(paused)

    def halt(self) -> None:
        """Stop what runs, keep it waiting with all it has finished, and take no new run."""
        self._client.halt()

    def use(self, device: str, precision: str) -> None:
        """Compute elsewhere; a fresh engine goes on with the queue there."""
        self.planning.starting = True
        self._client.use(device, precision)
        self.planned.emit()

    def move(self, run_ids: Sequence[int], to_front: bool) -> None:
        """Move waiting runs to the front or the end of the queue; their order stays."""
        self._client.move(run_ids, to_front)

    def _drain(self) -> None:
        for event in self._client.drain():
            self.queue_time.note(event)
            self._note(event)
            if self.planning.note(event):
                self.planned.emit()
            self.happened.emit(event)

    def _note(self, event: events.Event) -> None:
        if isinstance(event, events.RunEvent):
            self._note_run(event)
        match event:
            case events.RunProgress() | events.EpochFinished() | events.CheckProgress():
                return
            case events.WorkerReady():
                self.device = event.description
            case events.QueueChanged():
                self.paused = event.paused
            case events.StudyStage():
                self.transferring = event.study_id if event.detail else None
            case events.WorkerDied():
                self.running = self.transferring = None
        if not self._change_timer.isActive():
            self._change_timer.start()

    def _note_run(self, event: events.RunEvent) -> None:
        self._remember(event)
        match event:
            case events.RunStarted():
                self.running = event.run_id
            case events.RunProgress() | events.EpochFinished() | events.CheckProgress():
                self.progress[event.run_id] = event
            case events.StageStarted():
                last = self.progress.get(event.run_id)
                if isinstance(last, events.EpochFinished | events.CheckProgress):
                    del self.progress[event.run_id]
            case events.RunFinished() | events.RunFailed() | events.RunCancelled():
                self.running = None
                self.progress.pop(event.run_id, None)

    def _remember(self, event: events.RunEvent) -> None:
        if isinstance(event, events.RunStarted):
            self.told = []
        same = isinstance(event, events.RunProgress)
        if same and self.told and isinstance(self.told[-1], events.RunProgress):
            self.told.pop()
        self.told.append(event)
