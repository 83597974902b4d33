"""The worst case of several attacks: known examples first, then each attack on what is left.

What an image comes to is what it would come to if every attack met it, since seeds belong to
images: it is broken if any of them breaks it. But an image that is broken meets no further one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.attacks.geometry.ball import Threat
from engine.attacks.known import PART, Known, KnownExamples
from engine.attacks.run import run_attack, run_method
from engine.attacks.search.notes import LOST, Note
from engine.attacks.search.result import AttackResult, Observer, StepPoint
from engine.attacks.search.telemetry import broken_by
from engine.events import ShouldStop
from engine.specs.choices import AttackSpec

CLEAN = "no attack"
"""What settles an image that is misclassified as it is."""


@dataclass(frozen=True, eq=False)
class Settled:
    """The worst case of a batch.

    Attributes:
        result: as if one attack had found it. Of an image that holds, the point is that of the
            last attack that returned one inside the ball.
        by: who broke each image: ``CLEAN``, the title of a source of known examples, or the
            label of an attack; empty where it holds.
        found: (N) bool, broken by an attack of this call, not by what was known.
    """

    result: AttackResult
    by: tuple[str, ...]
    found: Tensor


def part_name(attack: AttackSpec, part: str = "") -> str:
    """What a step of one of the attacks, or of a part of it, belongs to."""
    return f"{attack.label}: {part}" if part else attack.label


def run_cascade(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    worst_case: AttackSpec,
    attacks: Sequence[AttackSpec],
    *,
    view: nn.Module | None = None,
    known: Iterable[Known] = (),
    precision: str = "auto",
    seed: int = 0,
    observer: Observer | None = None,
    should_stop: ShouldStop | None = None,
) -> Settled:
    """Attack a batch of images with several attacks, each on what the ones before left.

    Every attack runs as ``run_attack`` does, with its own threat model; what it breaks counts
    where the example lies in that of the worst case. A random model is another one on every
    draw, so that what several attacks break does not add up: there each attack meets every image,
    and the one that breaks most counts alone.

    Args:
        model, images, labels, view, precision, seed, observer, should_stop: as ``run_attack``.
        worst_case: says within which ball.
        attacks: in the order in which they go.
        known: examples of these images from elsewhere, one source after the other; none is asked
            for after all images are broken.

    Raises:
        AttackError, Cancelled, SpecError: as ``run_attack``.
    """
    threat = Threat(worst_case.norm, worst_case.eps)
    first = KnownExamples(known)
    relay = _Relay(len(images), observer)
    start = run_method(
        model,
        images,
        labels,
        first,
        threat,
        precision="fp32",
        seed=seed,
        observer=relay.of(PART),
        should_stop=should_stop,
    )
    state = _State(start, [first.titles[n] if n >= 0 else "" for n in first.by.tolist()])
    relay.behind(state)
    for attack in attacks:
        rows = state.open()
        if not len(rows):
            break
        found = run_attack(
            model,
            images[rows],
            labels[rows],
            attack,
            view=view,
            precision=precision,
            seed=seed,
            observer=relay.of(part_name(attack), rows, counts=attack.eps is not None),
            should_stop=should_stop,
        )
        inside = threat.holds(images[rows].to(found.adversarial), found.adversarial)
        state.take(rows, found, inside, attack.label, relay.first)
        relay.behind(state)
    return state.settled(threat.norm, relay.curve)


_SUMMED = ("forwards", "backwards")
_OF_POINTS = ("adversarial", "adversarial_predictions", "adversarial_confidence", "l2", "linf")
_OF_CLEAN = ("clean_predictions", "clean_confidence")
_OF_LEFT = frozenset({LOST, "failure", "edge"})


class _State:
    """What every image has come to so far.

    Attributes:
        total: the verdicts; its tensors are written in place.
        by: who broke each image.
        found: (N) bool, broken by an attack.
    """

    def __init__(self, start: AttackResult, titles: Sequence[str]) -> None:
        self.total, self._random = start, start.random
        self._notes, self._precision = list(start.remarks), "fp32"
        # A random model may get an image wrong in the last draw that was right in the first.
        self.by = [CLEAN if broken else "" for broken in start.broken.tolist()]
        for row, title in enumerate(titles):
            if title and start.broken_at_step[row] > 0:
                self.by[row] = title
        self.found = torch.zeros_like(start.broken)

    def open(self) -> Tensor:
        """Indices of the images that the next attack meets."""
        meets = torch.ones_like(self.found) if self._random else ~self.total.broken
        return meets.nonzero().squeeze(1)

    def take(
        self, rows: Tensor, found: AttackResult, inside: Tensor, label: str, first: int
    ) -> None:
        """What an attack did to these images.

        Args:
            rows: (M) the images.
            found: what it found on them.
            inside: (M) bool, its examples lie in the threat model.
            label: of the attack.
            first: where its axis of steps begins.
        """
        for name in _SUMMED:
            getattr(self.total, name)[rows] += getattr(found, name)
        self._notes += found.remarks
        self._precision = "bf16" if found.precision == "bf16" else self._precision
        self.total = dataclasses.replace(self.total, seconds=self.total.seconds + found.seconds)
        won = found.broken & inside
        if self._random:
            if int(won.sum()) <= int(self.total.broken.sum()):
                return
            self._forget(found)
        self._put(rows, found, won, won | (inside & ~found.broken), first)
        for row, step in zip(rows[won].tolist(), found.broken_at_step[won].tolist(), strict=True):
            self.by[row] = label if step or not self._random else CLEAN
        # Some models are random near a boundary only, where the first look did not fall.
        self._random = self._random or found.random

    def _forget(self, found: AttackResult) -> None:
        """A luckier attack on a random model takes the place of all before, clean images too."""
        total = self.total
        self.by = [""] * len(self.by)
        self.found[:], total.broken[:], total.broken_at_step[:] = False, False, -1
        for name in _OF_CLEAN:
            getattr(total, name)[:] = getattr(found, name)

    def _put(
        self, rows: Tensor, found: AttackResult, won: Tensor, kept: Tensor, first: int
    ) -> None:
        """Write what was won (M), and the points that are kept (M)."""
        total = self.total
        for name in _OF_POINTS:
            getattr(total, name)[rows[kept]] = getattr(found, name)[kept]
        steps = found.broken_at_step[won]
        total.broken[rows[won]] = True
        total.broken_at_step[rows[won]] = torch.where(steps > 0, steps + first, steps)
        self.found[rows[won]] = steps > 0

    def settled(self, norm: str, curve: Sequence[StepPoint]) -> Settled:
        """The end of it; the curve gets the final counts."""
        total = self.total
        counts = broken_by(total.broken_at_step, [point.step for point in curve]).tolist()
        size = len(total.broken)
        final = tuple(
            dataclasses.replace(point, broken=count, active=size - count)
            for point, count in zip(curve, counts, strict=True)
        )
        result = dataclasses.replace(
            total,
            norm=norm,
            precision=self._precision,
            remarks=tuple(_merged(self._notes, size - int(total.broken.sum()))),
            curve=final,
            random=self._random,
        )
        return Settled(result, tuple(self.by), self.found)


def _merged(notes: Sequence[Note], left: int) -> list[Note]:
    """Each note once: attacks that meet the same images say the same of them.

    What is said of images that an attack left is said of no more than are left in the end.
    """
    largest: dict[tuple[str, str], Note] = {}
    for note in notes:
        key = (note.kind, note.words)
        if key not in largest or note.count > largest[key].count:
            largest[key] = note
    return [
        dataclasses.replace(note, count=min(note.count, left)) if note.kind in _OF_LEFT else note
        for note in largest.values()
        if left or note.kind not in _OF_LEFT
    ]


class _Relay:
    """Hands the steps of one attack after the other to the observer, on one axis.

    Attributes:
        first: where the axis of the present attack begins.
        curve: all points so far.
    """

    def __init__(self, total: int, observer: Observer | None) -> None:
        self._total, self._observer = total, observer
        self.first = 0
        self.curve: list[StepPoint] = []
        self._broken = self._forwards = self._backwards = 0
        self._seconds = 0.0

    def behind(self, state: _State) -> None:
        """An attack is over."""
        total = state.total
        self.first = self.curve[-1].step if self.curve else 0
        self._broken, self._seconds = int(total.broken.sum()), total.seconds
        self._forwards, self._backwards = int(total.forwards.sum()), int(total.backwards.sum())

    def of(self, name: str, rows: Tensor | None = None, *, counts: bool = True) -> Observer:
        """Listens to an attack on these images; what one without a ball breaks is not known yet."""
        known = self._broken if rows is None else self._total - len(rows)

        def hear(point: StepPoint) -> None:
            if point.step == 0 and rows is not None:
                return  # the clean images again
            part = f"{name}: {point.part}" if point.part and point.part != name else name
            broken = known + point.broken if counts else known
            heard = dataclasses.replace(
                point,
                step=self.first + point.step,
                total=self._total,
                broken=broken,
                active=self._total - broken,
                forwards=self._forwards + point.forwards,
                backwards=self._backwards + point.backwards,
                seconds=self._seconds + point.seconds,
                part=part,
            )
            self.curve.append(heard)
            if self._observer is not None:
                self._observer(heard)

        return hear
