"""What the Live page shows of one run, from events or from the store; no widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine import events
from engine.report.evidence import lights, summarise
from engine.statistics.intervals import wilson
from engine.store import CurveRow, RunRow, Store
from gui.base.words import duration
from gui.pages.live.training_state import (
    NO_TRAINING,
    Marks,
    Points,
    Training,
    of_records,
)

_MOST_POINTS = 400
_STAGES = {
    "data": "loading the images",
    "model": "loading the base model",
    "compression": "compressing",
    "training": "training",
    "accounting": "measuring size and sparsity",
    "diagnostics": "checking the variant",
    "attack": "attacking",
    "check": "attacking what is left",
    "statistics": "computing intervals",
}


@dataclass(frozen=True)
class Earlier:
    """A finished run drawn for comparison; ``baseline`` marks the uncompressed variant."""

    name: str
    curve: Points
    baseline: bool


@dataclass(frozen=True)
class LiveState:
    """One run as far as it has got.

    Attributes:
        curve: (attack step, robust accuracy after it); step 0 is the clean image.
        loss: (attack step, mean loss of the images still under attack).
        history: (images done, broken among them), growing.
        steps: length of the attack's step axis, 0 if unknown.
        phase: what happens now, in words.
        parts: (step after which it begins, name) of each attack of several in a row.
        active: images of the current batch that still hold.
        evidence: what the diagnostics say of a finished run, in one sentence.
        training: of the steps of its recipe.
    """

    run_id: int
    curve: Points = ()
    loss: Points = ()
    history: tuple[tuple[int, int], ...] = ()
    done: int = 0
    total: int = 0
    broken: int = 0
    seen: int = 0
    steps: int = 0
    images_per_second: float = 0.0
    seconds_left: float | None = None
    phase: str = ""
    parts: Marks = ()
    active: int = 0
    evidence: str = ""
    training: Training = NO_TRAINING

    def after(self, event: events.RunEvent) -> LiveState:
        """The state once an event of this run is known."""
        match event:
            case events.RunStarted():
                return LiveState(
                    self.run_id,
                    total=event.total,
                    done=event.done,
                    steps=event.steps,
                    phase="starting",
                )
            case events.StageStarted():
                words = stage_words(event.stage, event.detail)
                return replace(self, phase=words, training=self.training.rested())
            case events.EpochFinished():
                words = stage_words("training", epoch_words(event))
                return replace(self, phase=words, training=self.training.after(event))
            case events.RunProgress():
                return self._progressed(event)
            case events.CheckProgress(before=True):
                words = stage_words("diagnostics", f"{event.detail}, {event.share:.0%}")
                return replace(self, phase=words)
            case events.CheckProgress():
                words = stage_words("check", f"{event.detail}, {event.share:.0%}")
                return replace(self, phase=words, seconds_left=event.seconds_left)
            case events.RunFailed():
                return self._stopped(f"failed: {event.message}")
            case events.RunCancelled():
                return self._stopped("cancelled")
            case events.RunWaits():
                return self._stopped("stopped; it waits in the queue")
        return self

    def _stopped(self, phase: str) -> LiveState:
        return replace(self, phase=phase, seconds_left=None, training=self.training.rested())

    def _progressed(self, event: events.RunProgress) -> LiveState:
        return replace(
            self,
            curve=tuple((step * event.stride, share) for step, share in enumerate(event.curve)),
            loss=event.loss,
            history=event.history,
            done=event.done,
            total=event.total,
            broken=event.broken,
            seen=event.seen,
            images_per_second=event.images_per_second,
            seconds_left=event.seconds_left,
            phase=stage_words("attack", event.part),
            parts=event.parts,
            active=event.active,
            training=self.training.rested(),
        )

    def span(self) -> int:
        """The last step of the step axis."""
        return max(self.steps, self.curve[-1][0] if self.curve else 0, 1)

    def robust(self) -> tuple[float, float, float] | None:
        """Robust accuracy of the images done, with its 95 % Wilson interval."""
        if not self.done:
            return None
        held = self.done - self.broken
        low, high = wilson(held, self.done)
        return held / self.done, float(low), float(high)

    def band(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """Images done, robust accuracy and its interval, for drawing."""
        points = [point for point in self.history if point[0] > 0]
        done = [float(n) for n, _ in points]
        if not points:
            return [], [], [], []
        held = [n - broken for n, broken in points]
        low, high = wilson(held, done)
        middle = [k / n for k, n in zip(held, done, strict=True)]
        return done, middle, [float(x) for x in low], [float(x) for x in high]


def stage_words(stage: str, detail: str = "") -> str:
    """What a stage does, in words."""
    words = _STAGES.get(stage, stage)
    return f"{words}: {detail}" if detail else words


def epoch_words(event: events.EpochFinished) -> str:
    """Where training stands, in words."""
    words = f"epoch {event.at.epoch.number} of {event.at.epoch.of}"
    return f"{event.at.name}, {words}" if event.at.name else words


def stored_state(store: Store, run_id: int) -> LiveState:
    """The state of a run that is not running, from what is stored."""
    row = store.run(run_id)
    points = store.curve(run_id)
    broken = [sample["broken"] for sample in store.samples(run_id)]
    return LiveState(
        run_id,
        curve=curve_points(points),
        loss=tuple((p["step"], p["loss"]) for p in points if p["loss"] is not None),
        history=_history(broken),
        done=len(broken),
        total=row["total"] or len(broken),
        broken=sum(broken),
        seen=len(broken),
        images_per_second=len(broken) / row["seconds"] if row["seconds"] else 0.0,
        phase=_ended(row),
        parts=_marks(points),
        evidence=_evidence(store, row),
        training=of_records(store.step_records(run_id)),
    )


def curve_points(rows: Sequence[CurveRow]) -> Points:
    """The points of ``Store.curve`` to draw."""
    return tuple((row["step"], row["robust_accuracy"]) for row in rows)


def _marks(rows: Sequence[CurveRow]) -> Marks:
    """Where each part begins: after the step before its first point."""
    marks: list[tuple[int, str]] = []
    before = 0
    for row in rows:
        if row["part"] and row["part"] != (marks[-1][1] if marks else ""):
            marks.append((before, row["part"]))
        before = row["step"]
    return tuple(marks)


def _evidence(store: Store, row: RunRow) -> str:
    if row["status"] != "finished":
        return ""
    return summarise(row, lights(row, store.checks(row["run_id"]))).text


def _ended(row: RunRow) -> str:
    return f"failed: {row['message']}" if row["status"] == "failed" else str(row["status"])


def _history(broken: Sequence[bool]) -> tuple[tuple[int, int], ...]:
    stride = max(1, len(broken) // _MOST_POINTS)
    result: list[tuple[int, int]] = []
    count = 0
    for done, is_broken in enumerate(broken, 1):
        count += is_broken
        if done % stride == 0 or done == len(broken):
            result.append((done, count))
    return tuple(result)


def training_figures(training: Training, phase: str) -> dict[str, str]:
    """The numbers of the newest epoch as texts."""
    # Which training it is stands in lines of its own.
    working = training.seconds_left is not None
    texts = {"phase": "training" if working else phase, "left": duration(training.seconds_left)}
    epoch = training.last
    if epoch is None:
        return texts
    segment = training.segments[-1]
    texts["segment"] = segment.name
    texts["epoch"] = f"{epoch.number} of {segment.expected}"
    if training.step_epochs > segment.expected:
        texts["epoch"] += f", {training.step_done} of {training.step_epochs} of the step"
    texts["clean"] = f"{100 * epoch.clean:.1f} %"
    texts["robust"] = "" if epoch.robust is None else f"{100 * epoch.robust:.1f} %"
    texts["loss"], texts["rate"] = f"{epoch.loss:.4g}", f"{epoch.learning_rate:.3g}"
    return texts


def _images(state: LiveState) -> str:
    if not state.total:
        return ""
    # Broken images have left the batch; what the coming steps are for are the others.
    holding = f", {state.active} of {state.seen - state.done} hold" if state.active else ""
    return f"{state.done} of {state.total} done{holding}"


def figures(state: LiveState) -> dict[str, str]:
    """The numbers of the state as texts."""
    robust = state.robust()
    texts: dict[str, Any] = {
        "phase": state.phase,
        "images": _images(state),
        "left": duration(state.seconds_left),
        "evidence": state.evidence,
    }
    if state.curve:
        texts["clean"] = f"{100 * state.curve[0][1]:.1f} %"
    if robust:
        share, low, high = (100 * value for value in robust)
        texts["robust"] = f"{share:.1f} % [{low:.1f}, {high:.1f}]"
    elif state.curve:
        # Before the first batch is judged, the curve is all there is.
        texts["robust"] = f"{100 * state.curve[-1][1]:.1f} % so far"
    if state.images_per_second:
        speed = state.images_per_second
        texts["speed"] = f"{speed:,.0f} a second" if speed >= 100 else f"{speed:.3g} a second"
    return texts
