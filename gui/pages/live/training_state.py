"""How the steps of a run trained, from events or from the store; no widgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from engine import catalog, events
from engine.errors import CrumpleError
from engine.events import Epoch
from engine.store import Payload

Points = tuple[tuple[int, float], ...]
Marks = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Segment:
    """One training of one step.

    Attributes:
        place: of the step in the recipe, from 1.
        step: its label.
        stage: of a step that trains more than once; else empty.
        epochs: that are finished, in order.
        expected: epochs in all.
    """

    place: int
    step: str
    stage: str
    epochs: tuple[Epoch, ...]
    expected: int

    @property
    def name(self) -> str:
        """For example ``hydra 10% · prune``."""
        return " · ".join(filter(None, (self.step, self.stage)))


@dataclass(frozen=True)
class Training:
    """The trainings of a run, one after the other on one axis of epochs.

    Attributes:
        segments: in order.
        step_done: epochs of the step at work.
        step_epochs: epochs that it takes in all, 0 if no step is at work.
        seconds_left: until it has trained; None if unknown or nothing trains.
    """

    segments: tuple[Segment, ...] = ()
    step_done: int = 0
    step_epochs: int = 0
    seconds_left: float | None = None

    def __bool__(self) -> bool:
        return bool(self.segments)

    def after(self, event: events.EpochFinished) -> Training:
        """With one epoch more. After an interruption earlier epochs come again."""
        epoch = event.at.epoch
        key = event.at.place, event.at.step, epoch.stage
        segments, last = list(self.segments), None
        for number, segment in enumerate(segments):
            if (segment.place, segment.step, segment.stage) == key:
                last = number
        if last is None:
            segments.append(Segment(*key, (epoch,), epoch.of))
        else:
            # What came after an epoch that comes again was of the try before.
            kept = tuple(
                earlier for earlier in segments[last].epochs if earlier.number < epoch.number
            )
            segments[last] = replace(segments[last], epochs=(*kept, epoch), expected=epoch.of)
            del segments[last + 1 :]
        return Training(
            tuple(segments),
            event.at.done,
            event.at.expected,
            event.seconds_left,
        )

    def rested(self) -> Training:
        """The same while nothing trains."""
        return Training(self.segments)

    def behind(self, before: Training) -> Training:
        """With what is known of earlier steps in front."""
        places = {segment.place for segment in self.segments}
        earlier = tuple(segment for segment in before.segments if segment.place not in places)
        ordered = sorted((*earlier, *self.segments), key=lambda segment: segment.place)
        return replace(self, segments=tuple(ordered))

    @property
    def share(self) -> float:
        """How much of the step at work is done, in [0,1]."""
        return min(self.step_done / self.step_epochs, 1.0) if self.step_epochs else 0.0

    @property
    def last(self) -> Epoch | None:
        """The newest epoch."""
        return self.segments[-1].epochs[-1] if self.segments else None

    def span(self) -> int:
        """Epochs of the whole axis: those finished, and those that the step at work still has."""
        done = sum(len(segment.epochs) for segment in self.segments)
        return max(done + max(self.step_epochs - self.step_done, 0), 1)

    def marks(self) -> Marks:
        """After how many epochs each segment begins, and its name."""
        return tuple((before, segment.name) for before, segment in self._placed())

    def runs(self, name: str) -> tuple[Points, ...]:
        """Points (epoch, value) of an attribute of ``Epoch``, one run of them per segment."""
        return tuple(
            tuple(
                (before + number, value)
                for number, epoch in enumerate(segment.epochs, 1)
                if (value := getattr(epoch, name)) is not None
            )
            for before, segment in self._placed()
        )

    def rows(self) -> Iterator[tuple[object, ...]]:
        """One row per epoch: step, stage, epoch, and the numbers of it."""
        for segment in self.segments:
            for epoch in segment.epochs:
                numbers = (epoch.loss, epoch.clean, epoch.robust, epoch.learning_rate)
                yield (segment.step, segment.stage, epoch.number, *numbers)

    def _placed(self) -> Iterator[tuple[int, Segment]]:
        before = 0
        for segment in self.segments:
            yield before, segment
            before += len(segment.epochs)


NO_TRAINING = Training()

COLUMNS = (
    "step",
    "stage",
    "epoch",
    "loss",
    "clean_accuracy",
    "robust_accuracy",
    "learning_rate",
)
"""Heads of ``Training.rows``."""


def of_records(records: Iterable[Payload]) -> Training:
    """The trainings in the records of a recipe's steps, as they are stored."""
    segments: list[Segment] = []
    for number, record in enumerate(records, 1):
        for stage, group in groupby(record.get("epochs", ()), lambda row: str(row["stage"])):
            rows = list(group)
            epochs = tuple(Epoch.from_row(row) for row in rows)
            segments.append(Segment(number, record["step"], stage, epochs, rows[-1]["epochs"]))
    return Training(tuple(segments))


def expected_epochs(recipe: Iterable[Payload]) -> int:
    """Epochs that all steps of a stored recipe train together; 0 if they do not."""
    return sum(_epochs(step) for step in recipe)


def _epochs(step: Payload) -> int:
    try:
        params = catalog.find("compressions", step["name"]).params
        return params.model_validate(step["params"]).training_epochs()
    except (CrumpleError, ValueError):
        return 0  # of another version of the catalogue
