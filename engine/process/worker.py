"""The worker process: owns torch and the device, and is the only writer of results.

One thread does everything. Commands are read between runs and whenever an attack asks
whether to stop, so a cancel is seen within one attack step.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from engine import catalog, extensions
from engine.errors import CrumpleError, DeviceLost
from engine.events import (
    Event,
    QueueChanged,
    RunCancelled,
    RunFailed,
    RunWaits,
    StudyRefused,
    WorkerDied,
    WorkerReady,
)
from engine.host import device
from engine.pipeline.runner import Options, Runner
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
from engine.store import Writer
from engine.store.artifacts import models_of


def main(connection: Connection, settings: Settings) -> None:
    """Entry of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal is the window's affair
    try:
        _serve(connection, settings)
    except DeviceLost as error:
        connection.send(WorkerDied(reason=error.message))
    except torch.AcceleratorError as error:  # outside of a run
        connection.send(WorkerDied(reason=f"The device failed: {str(error).splitlines()[0]}."))
    except CrumpleError as error:
        connection.send(WorkerDied(reason=str(error), final=True))
    finally:
        connection.close()


def _serve(connection: Connection, settings: Settings) -> None:
    if hasattr(os, "nice"):
        os.nice(5)
    device.prepare_host(settings.reserve)
    catalog.use_library(models_of(settings.database))
    extensions.activate()
    with Writer(settings.database) as store:
        channel = _Channel(connection)
        runner = Runner(store, channel.send, Options(settings.device, settings.precision))
        worker = _Worker(channel, runner)
        worker.recover(settings.last_words)
        for command in settings.first:
            worker.obey(command)
        channel.send(
            WorkerReady(
                pid=os.getpid(),
                device=str(runner.device),
                description=device.describe(runner.device),
                devices=device.found(),
            )
        )
        worker.loop()


class _Channel:
    """The pipe to the window. When the window is gone the process ends at once, and what it
    was running is resumed at the next start; SystemExit, since no run may swallow it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, event: Event) -> None:
        try:
            self._connection.send(event)
        except OSError:
            raise SystemExit(0) from None

    def poll(self, timeout: float | None) -> bool:
        return self._connection.poll(timeout)

    def receive(self) -> Command:
        try:
            command: Command = self._connection.recv()
        except (EOFError, OSError):
            raise SystemExit(0) from None
        return command


class _Worker:
    """Obeys commands and works through the queue."""

    def __init__(self, channel: _Channel, runner: Runner) -> None:
        self._channel, self._runner, self._store = channel, runner, runner.store
        self._paused = True
        self._leaving = self._halting = False
        self._running: set[int] = set()
        self._stop_running = False

    def recover(self, last_words: str) -> None:
        """Take over what the process before left running, and tell of what it died of."""
        left = self._store.ids("running")
        waiting = self._store.recover()
        for run_id in left:
            if run_id not in waiting:
                self._bury(run_id, last_words)

    def _bury(self, run_id: int, last_words: str) -> None:
        row = self._store.run(run_id)
        reason = f"{row['message']} {last_words}".rstrip()
        message = f"{row['model']} · {row['compression']}: {reason}"
        self._store.end_run(run_id, "failed", message=message, reason=reason)
        self._channel.send(RunFailed(run_id=run_id, message=message, hint=row["hint"] or ""))
        self._tell_studies(run_id)

    def loop(self) -> None:
        """Work until told to leave."""
        while not self._leaving:
            study_id = None if self._paused else self._store.transfer_queue.next_study()
            run_id = None if self._paused else self._store.next_waiting()
            if study_id is None and run_id is None:
                self._runner.rest()
                self._pump(wait=True)
            else:
                self._pump(wait=False)
            if self._paused or self._leaving:
                continue
            if study_id is not None:
                self._transfer(study_id)
            elif run_id is not None:
                self._work(run_id)

    def _work(self, run_id: int) -> None:
        if self._store.next_waiting([run_id]) is None:
            return  # cancelled a moment ago
        self._running, self._stop_running = {run_id}, False
        try:
            self._runner.execute(run_id, self._should_stop)
        except DeviceLost:
            self._tell_studies(run_id)
            raise
        self._running = set()
        kept = (self._leaving or self._halting) and not self._stop_running
        waits = kept and self._store.set_status([run_id], "waiting", ["cancelled"])
        self._halting = False
        if waits:
            self._channel.send(RunWaits(run_id=run_id))
        elif not self._leaving:
            self._tell_studies(run_id)

    def _transfer(self, study_id: int) -> None:
        """The stage of a study after its runs; stopped by cancelling any run of the study."""
        self._running, self._stop_running = set(self._store.study_runs(study_id)), False
        self._runner.transfer(study_id, self._should_stop)
        self._running, self._halting = set(), False
        if self._stop_running:
            queue = self._store.transfer_queue
            queue.leave(queue.waiting(study_id), "cancelled")

    def _tell_studies(self, run_id: int) -> None:
        for study_id in self._store.studies_of(run_id):
            self._runner.study_summary(study_id)

    def _should_stop(self) -> bool:
        self._pump(wait=False)
        return self._stop_running or self._leaving or self._halting

    def _pump(self, *, wait: bool) -> None:
        """Obey what has arrived; with ``wait``, block until something has."""
        while self._channel.poll(None if wait else 0):
            self.obey(self._channel.receive())
            wait = False

    def obey(self, command: Command) -> None:
        """Carry out one command."""
        match command:
            case Submit(study):
                self._submit(study)
            case Cancel(run_ids):
                self._cancel(run_ids)
            case Retry(run_ids):
                self._store.set_status(run_ids, "waiting", ["failed", "cancelled"])
            case Pause(paused):
                self._paused = paused
            case Halt():
                self._paused, self._halting = True, bool(self._running)
            case Move(run_ids, to_front):
                self._store.move(run_ids, to_front)
            case Shutdown():
                self._leaving = True
                return
        self._channel.send(QueueChanged(paused=self._paused))

    def _submit(self, study: Study) -> None:
        extensions.activate(ask=False)  # a file may be trusted since, or be another
        try:
            self._runner.enqueue(study)
        except CrumpleError as error:
            self._channel.send(
                StudyRefused(name=study.name, message=error.message, hint=error.hint)
            )

    def _cancel(self, run_ids: Sequence[int]) -> None:
        self._stop_running |= not self._running.isdisjoint(run_ids)
        for run_id in self._store.set_status(run_ids, "cancelled", ["waiting"]):
            self._channel.send(RunCancelled(run_id=run_id))
