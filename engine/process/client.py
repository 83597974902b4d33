"""The engine as seen by the window: supervises one worker process and never blocks the caller.

One daemon thread starts the worker, forwards commands, collects events, restarts a worker
that died, and kills one that does not answer a cancel. The worker answers every command with
``QueueChanged``; what a dead one has not answered is told to the next.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from engine.events import (
    Event,
    QueueChanged,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunProgress,
    RunStarted,
    StageStarted,
    WorkerDied,
    WorkerReady,
)
from engine.process.commands import (
    Cancel,
    Command,
    Halt,
    Move,
    Pause,
    Retry,
    Settings,
    Shutdown,
    Submit,
)
from engine.specs.study import Study

CANCEL_GRACE = 2.0
"""Seconds that a running run has to answer a cancel before its process is killed."""

MAX_EARLY_DEATHS = 3
"""Deaths in a row before a worker was ready, after which it is not started again."""


_NOT_AGAIN = Pause | Halt | Shutdown
"""Commands that the next process is not told again: it is started with what they came to."""


def _enter(connection: Connection, settings: Settings) -> None:
    # By name: the window imports this module and must not import torch through it.
    importlib.import_module("engine.process.worker").main(connection, settings)


@contextlib.contextmanager
def _no_current_folder() -> Iterator[None]:
    """Processes started here import nothing from the current folder.

    A spawned one is ``python -c``, which would look there first: for a struct.py, for instance.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


class EngineClient:
    """One worker process on one database.

    Every method returns at once and may be called from any one thread; what comes of a call
    is told by the events that ``drain`` gives.

    Args:
        database: where results go.
        device: ``auto``, ``cpu``, ``cuda:0``...
        precision: ``auto``, ``fp32`` or ``bf16``.
        grace: seconds before a cancelled run's process is killed.
    """

    def __init__(
        self,
        database: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        grace: float = CANCEL_GRACE,
    ) -> None:
        self.database = Path(database)
        self._settings = Settings(self.database, device, precision)
        self._grace = grace
        self._commands: deque[Command] = deque()
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._wake_out, self._wake_in = multiprocessing.Pipe(duplex=False)
        self._thread: threading.Thread | None = None
        self._paused = True
        self._closing = False

    # -- what the window asks for ----------------------------------------------------------

    def start(self) -> None:
        """Start the worker; it is warm after ``WorkerReady``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._supervise, name="engine", daemon=True)
            self._thread.start()

    def submit(self, study: Study) -> None:
        """Queue a study; answered by ``StudyQueued`` or ``StudyRefused``."""
        self._send(Submit(study))

    def cancel(self, run_ids: Sequence[int]) -> None:
        """Stop runs; each is answered by ``RunCancelled`` within seconds."""
        self._send(Cancel(tuple(run_ids)))

    def retry(self, run_ids: Sequence[int]) -> None:
        """Queue failed or cancelled runs again; they continue where they stopped."""
        self._send(Retry(tuple(run_ids)))

    def pause(self, paused: bool) -> None:
        """Take no new run, or go on. A fresh client is paused."""
        self._send(Pause(paused))

    def halt(self) -> None:
        """Stop what runs and take no new run; ``RunWaits`` tells that it waits again."""
        self._send(Halt())

    def move(self, run_ids: Sequence[int], to_front: bool) -> None:
        """Move waiting runs to the front or the end of the queue; their order stays."""
        self._send(Move(tuple(run_ids), to_front))

    def use(self, device: str, precision: str) -> None:
        """Compute elsewhere: the worker ends, and a fresh one goes on with the queue there.

        What runs goes back into the queue and continues after its last stored batch.
        """
        self._settings = replace(self._settings, device=device, precision=precision)
        if self._thread is not None:
            self._send(Shutdown())

    def drain(self) -> list[Event]:
        """The events since the last call; of a run's progress only the newest."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self, timeout: float = 5.0) -> None:
        """End the worker, kill it if it does not go in time; running runs resume later."""
        if self._thread is not None:
            self._closing = True
            self._send(Shutdown())
            self._thread.join(timeout + self._grace)
            self._thread = None
        self._wake_in.close()
        self._wake_out.close()

    def _send(self, command: Command) -> None:
        self._commands.append(command)
        self._wake_in.send(None)

    # -- the supervising thread ------------------------------------------------------------

    def _supervise(self) -> None:
        early_deaths = 0
        first: tuple[Command, ...] = (Pause(True),)
        last_words = ""
        while True:
            worker = _WorkerProcess(self._settings, first, last_words)
            leaving = self._serve(worker)
            worker.stop()
            if leaving and self._closing:
                return
            self._forget_wakes()  # what was asked of this one does not start the next
            first = (Pause(self._paused), *worker.to_repeat())
            if leaving:
                early_deaths, last_words = 0, ""
                self._add(WorkerDied(reason="The engine is started anew.", run_id=worker.running))
                continue
            early_deaths = 0 if worker.was_ready else early_deaths + 1
            final = early_deaths >= MAX_EARLY_DEATHS or worker.refused
            self._add(WorkerDied(reason=worker.epitaph(), run_id=worker.running, final=final))
            if final:
                if self._wait_for_command():
                    return
                early_deaths = 0
                with contextlib.suppress(ValueError):
                    self._commands.remove(Shutdown())  # of ``use``: there is nobody to end
            last_words = worker.epitaph()

    def _serve(self, worker: _WorkerProcess) -> bool:
        """Talk to a worker until it dies (False) or was told to leave (True)."""
        while True:
            if not self._forward_all(worker):
                return False
            if worker.told_to_leave:
                worker.drain(self._grace)
                return True
            ready = wait([worker.connection, self._wake_out], worker.patience())
            if worker.overdue():
                return False
            if self._wake_out in ready:
                self._forget_wakes()
            if worker.connection in ready:
                event = worker.receive()
                if event is None:
                    return False
                if not isinstance(event, WorkerDied):
                    self._add(event)

    def _forward_all(self, worker: _WorkerProcess) -> bool:
        """Send what was asked for; False if the process is gone (commands wait for the next)."""
        while self._commands:
            command = self._commands[0]
            if isinstance(command, Pause | Halt):
                self._paused = isinstance(command, Halt) or command.paused
            alive = worker.send(command, self._grace)
            if alive or worker.told_to_leave:
                self._commands.popleft()
            if worker.told_to_leave or not alive:
                return worker.told_to_leave
        return True

    def _wait_for_command(self) -> bool:
        """Sleep until somebody wants something; True if that is to close."""
        if not self._closing:
            self._wake_out.poll(None)
        return self._closing

    def _forget_wakes(self) -> None:
        while self._wake_out.poll():
            self._wake_out.recv()

    def _add(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, RunProgress):
                for place, old in enumerate(self._events):
                    if isinstance(old, RunProgress) and old.run_id == event.run_id:
                        self._events[place] = event
                        return
            self._events.append(event)


class _WorkerProcess:
    """One life of the worker: the process, its pipe, and what it is doing."""

    def __init__(self, settings: Settings, first: tuple[Command, ...], last_words: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.was_ready = False
        self.told_to_leave = False
        self.refused = False
        self._reason = ""
        self.running: int | None = None
        self._title = self._place = ""
        self._deadline: float | None = None
        self._first = first
        self._unanswered: deque[Command] = deque(first)
        self._killed = self._cancelling = False
        told = replace(settings, first=first, last_words=last_words)
        self._process: SpawnProcess = context.Process(
            target=_enter, args=(theirs, told), name="crumple-worker", daemon=True
        )
        with _no_current_folder():
            self._process.start()
        theirs.close()

    def send(self, command: Command, grace: float) -> bool:
        """Give a command; False if the process is gone."""
        cancels = isinstance(command, Cancel) and self.running in command.run_ids
        hits = cancels or (isinstance(command, Halt) and self.running is not None)
        if hits and self._deadline is None:
            self._deadline = time.monotonic() + grace
        self._cancelling |= cancels
        self.told_to_leave |= isinstance(command, Shutdown)
        try:
            self.connection.send(command)
        except OSError:
            return False
        self._unanswered.append(command)
        return True

    def receive(self) -> Event | None:
        """The next event; None if the process is gone."""
        try:
            event: Event = self.connection.recv()
        except (EOFError, OSError):
            return None
        self._note(event)
        return event

    def _note(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self.was_ready = True
            case WorkerDied():
                self._reason, self.refused = event.reason, event.final
            case QueueChanged():
                self._unanswered.popleft()
            case RunStarted():
                self.running, self._title = event.run_id, event.title
                self._place = f" at {event.title}"
            case StageStarted():
                self._place = f" at {self._title}, {event.stage}"
            case RunFinished() | RunFailed() | RunCancelled() if event.run_id == self.running:
                self.running, self._deadline, self._place = None, None, ""
                self._cancelling = False

    def patience(self) -> float | None:
        """Seconds until a cancel is overdue; None if none is pending."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def overdue(self) -> bool:
        """Whether a cancel was not answered in time; then the process is killed."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        if late:
            self._killed = True
            self._process.kill()
        return late

    def drain(self, timeout: float) -> None:
        """Let the process end by itself, reading what it still says."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.connection.poll(max(0.0, end - time.monotonic())):
            if self.receive() is None:
                return

    def stop(self) -> None:
        """Make sure the process is gone."""
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.connection.close()

    def to_repeat(self) -> list[Command]:
        """What the next process must be told: commands that this one did not live to answer.

        Nothing is repeated twice, lest a command that ends its process ends them all.
        """
        repeated = {id(command) for command in self._first}
        lost = [
            command
            for command in self._unanswered
            if id(command) not in repeated and not isinstance(command, _NOT_AGAIN)
        ]
        hung: list[Command] = []
        if self._killed and self._cancelling and self.running is not None:
            hung = [Cancel((self.running,))]
        return [*hung, *lost]

    def epitaph(self) -> str:
        """Why it ended, in a sentence."""
        code = self._process.exitcode
        if self._reason:
            return self._reason
        if self._killed:
            return f"The run did not stop in time{self._place}, so its process was ended."
        if code is not None and code < 0:
            return f"The engine was ended by signal {-code}{self._place}."
        return f"The engine ended with exit code {code}{self._place}."
