"""Messages from the engine to whoever watches: typed, timestamped, picklable, torch-free.

A run emits ``RunStarted``, then ``StageStarted`` for each stage it really computes
(``EpochFinished`` for each epoch of a step that trains), then ``RunProgress`` (at most 20 a
second), and ends with exactly one of ``RunFinished``, ``RunFailed`` and ``RunCancelled``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

INTERVAL = 0.05
"""Seconds between two messages of one run at least (20 a second)."""

CURVE_POINTS = 500
"""Entries of a live curve at most; longer ones are thinned before they travel."""


@dataclass(frozen=True)
class Epoch:
    """A finished epoch of one training.

    Attributes:
        number: from 1.
        of: epochs in all.
        loss: mean over the training images.
        clean: accuracy on the validation images, those held out of the training images.
        robust: the same under PGD; None if the objective knows no attack.
        stage: of a method that trains more than once, for example ``prune``; else empty.
        seconds: it took, validation included.
        learning_rate: of its last gradient step.
    """

    number: int
    of: int
    loss: float
    clean: float
    robust: float | None = None
    stage: str = ""
    seconds: float = 0.0
    learning_rate: float = 0.0

    @property
    def score(self) -> float:
        """What epochs are compared by."""
        return self.clean if self.robust is None else self.robust

    def to_row(self) -> dict[str, Any]:
        """The epoch as the record of a step keeps it."""
        return {_STORED.get(name, name): value for name, value in vars(self).items()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Epoch:
        """The epoch that ``to_row`` wrote."""
        names = {name: _STORED.get(name, name) for name in cls.__dataclass_fields__}
        return cls(**{name: row[key] for name, key in names.items() if key in row})


_STORED = {"number": "epoch", "of": "epochs"}
"""What records call fields of an epoch."""


@dataclass(frozen=True)
class RecipeEpoch:
    """An epoch of a step of a recipe.

    Attributes:
        epoch: of one of the trainings of the step.
        step: the label of the step.
        place: of the step in the recipe, from 1.
        done: epochs of the step so far, of all its trainings.
        expected: of the step in all, as far as is known.
    """

    epoch: Epoch
    step: str
    place: int
    done: int
    expected: int

    @property
    def name(self) -> str:
        """The step and its training, for example ``hydra 10% · prune``."""
        return " · ".join(filter(None, (self.step, self.epoch.stage)))


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all messages; ``time`` is seconds since the epoch."""

    time: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class WorkerReady(Event):
    """The worker process is up.

    Attributes:
        device: where it computes, for example ``cpu`` or ``cuda:0``.
        description: the device in words, for the status bar.
        devices: name and description of all that this machine has.
    """

    pid: int
    device: str
    description: str
    devices: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkerDied(Event):
    """The worker process ended without being asked to; a fresh one is started, unless ``final``.

    Attributes:
        reason: one sentence.
        run_id: what it was working on, if anything.
        final: a fresh one would end like it, so none is started until something is asked for.
    """

    reason: str
    run_id: int | None = None
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class StudyQueued(Event):
    """A study was accepted: its runs are in the database.

    Attributes:
        run_ids: all runs of the study, in order.
        reused: how many of them were finished before and will not be computed again.
    """

    study_id: int
    name: str
    run_ids: tuple[int, ...]
    reused: int


@dataclass(frozen=True, kw_only=True)
class StudyRefused(Event):
    """A study could not be accepted; nothing was written."""

    name: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueChanged(Event):
    """The state of runs changed in the database without further events (cancel, retry, pause).

    Attributes:
        paused: whether the worker takes no new run.
    """

    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class RunEvent(Event):
    """Base of the messages about one run."""

    run_id: int


@dataclass(frozen=True, kw_only=True)
class RunStarted(RunEvent):
    """A run left the queue.

    Attributes:
        model: its id.
        method: compression and attack in words.
        total: images it will attack.
        done: images already stored by an interrupted earlier try.
        steps: length of the attack's step axis (0 if unknown).
    """

    model: str
    method: str
    total: int
    done: int = 0
    steps: int = 0

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.model} · {self.method}"


@dataclass(frozen=True, kw_only=True)
class StageStarted(RunEvent):
    """A stage is being computed (stages found in the store emit nothing).

    Attributes:
        stage: data, model, compression, accounting, diagnostics, attack, check or statistics.
    """

    stage: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class EpochFinished(RunEvent):
    """A compression step that trains finished an epoch.

    After an interruption the epochs done before come again, all at once.

    Attributes:
        at: the epoch and where in the recipe it is.
        seconds_left: of the whole step, at the pace of the epochs of this training so far.
    """

    at: RecipeEpoch
    seconds_left: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunProgress(RunEvent):
    """Where a run stands; each message replaces the one before.

    Attributes:
        done: images judged and stored.
        broken: broken images among ``done``.
        seen: images that the curve speaks of: ``done`` and those under attack now.
        curve: robust accuracy of the ``seen`` images after 0, stride, 2 stride, ... attack
            steps; entry 0 is their clean accuracy. At most ``CURVE_POINTS`` entries.
        stride: attack steps between two entries of ``curve``; 1 unless the attack is long.
        loss: (step, mean loss of the images still under attack) of the current batch.
        history: (images done, broken among them) after each finished batch.
        seconds_left: estimate for this run with the checks after its attack, None before there
            is one.
        images_per_second: of the finished batches of this run.
        part: which attack of several in a row is at work; empty if there is only one.
        parts: (step after which it begins, name) of each part that has begun.
        active: images of the current batch that still hold.
        share: how much of the run is done, in [0,1]; never falls. Images under attack count
            by the share of the attack's work that is behind them.
    """

    done: int
    total: int
    broken: int
    seen: int
    curve: tuple[float, ...]
    stride: int = 1
    loss: tuple[tuple[int, float], ...] = ()
    history: tuple[tuple[int, int], ...] = ()
    seconds_left: float | None = None
    images_per_second: float = 0.0
    part: str = ""
    parts: tuple[tuple[int, str], ...] = ()
    active: int = 0
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CheckProgress(RunEvent):
    """How far a check is that comes before or after the attack of a run.

    Attributes:
        detail: what is done.
        share: of it that is done, in [0,1]; never falls.
        seconds_left: of it and of the checks that follow, None before there is an estimate.
        before: it comes before the attack, whose time is not known yet and not in
            ``seconds_left``.
    """

    detail: str
    share: float
    seconds_left: float | None = None
    before: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFinished(RunEvent):
    """A run is complete and stored.

    Attributes:
        result: the row of the results table (see ``store.RESULT_COLUMNS``).
        reused: it was found in the store.
    """

    result: Mapping[str, Any]
    reused: bool = False


@dataclass(frozen=True, kw_only=True)
class RunFailed(RunEvent):
    """A run ended with an error; the queue goes on.

    Attributes:
        message: one sentence.
        hint: the next step.
        traceback: empty for errors that the user can mend.
    """

    message: str
    hint: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class RunCancelled(RunEvent):
    """A run was stopped on request; what it had finished stays for a retry."""


@dataclass(frozen=True, kw_only=True)
class RunWaits(RunEvent):
    """A run that was stopped together with the queue (``RunCancelled``) waits in it again."""


@dataclass(frozen=True, kw_only=True)
class StudyFinished(Event):
    """No run of the study is waiting or running any more."""

    study_id: int
    finished: int
    failed: int
    cancelled: int


@dataclass(frozen=True, kw_only=True)
class StudyStage(Event):
    """A stage of a whole study is being computed, after its runs and ``StudyFinished``.

    Attributes:
        stage: transfer.
        detail: the target worked on now; empty when the stage is over or was stopped.
        done: pairs judged.
        total: pairs to judge.
    """

    study_id: int
    stage: str
    detail: str
    done: int
    total: int


Emit = Callable[[Event], None]
ShouldStop = Callable[[], bool]
