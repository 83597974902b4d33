"""The stage after an attack: other searches on the images that it left (``diagnostics``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from engine.attacks import StepPoint
from engine.data import ImageSet
from engine.diagnostics import Checked, Rival, naive_search
from engine.errors import Cancelled, CrumpleError
from engine.events import INTERVAL, CheckProgress, Emit, ShouldStop
from engine.host.batches import in_batches
from engine.pipeline import attack_plan
from engine.pipeline.batch_progress import BatchPace
from engine.pipeline.search import search
from engine.pipeline.variants import LoadedVariant
from engine.specs.choices import AttackSpec
from engine.specs.study import Run
from engine.store import RunKeys, SampleRow, Writer
from engine.store.stage_keys import survivors_key

_FEWEST = 8
_BUDGET = {"cpu": 1e12}
_ACCELERATED = 1e14
"""Multiply-accumulates that one check may take, seconds on the device; and survivors at least."""
_BACKWARD = 3
"""Forwards that a gradient costs."""

Staged = Callable[[str, str, Callable[[], Any]], Any]


class SurvivorStage:
    """Sends rivals after the survivors of a run whose every image is judged.

    Args:
        store: has the verdicts; gets what each rival broke, so that nothing is tried twice.
        emit: where progress goes.
        precision: of the search.
        batch_size: images attacked together at most.
    """

    def __init__(self, store: Writer, emit: Emit, precision: str, batch_size: int) -> None:
        self._store, self._emit = store, emit
        self._precision, self._batch_size = precision, batch_size

    def run(
        self,
        run_id: int,
        spec: Run,
        keys: RunKeys,
        images: ImageSet,
        variant: LoadedVariant,
        rivals: Sequence[Rival],
        staged: Staged,
        should_stop: ShouldStop,
    ) -> list[Checked]:
        """What each rival does; one that fails or does not fit into memory says why.

        Raises:
            Cancelled: told to stop; the verdicts of the run and of finished rivals stay.
        """
        samples = self._store.samples(run_id)
        tried = [(rival, _tried(samples, rival)) for rival in rivals]
        total = len(samples)
        planned = [
            (rival, places)
            for rival, left in tried
            if (places := self._affordable(rival, left, total, spec.attack, images, variant))
        ]
        costs = [len(places) * self._work(rival.attack, images) for rival, places in planned]
        mine = {place for place, row in enumerate(samples) if row["broken"]}
        found = []
        for number, (rival, places) in enumerate(planned):
            later = sum(costs[number + 1 :]) / max(costs[number], 1)
            tell = _Teller(run_id, rival, images, self._precision, later, self._emit)
            hunted = _naive(variant, rival.attack) if rival.naive else variant
            hunt = _Hunt(spec, images, hunted, rival, places, tell, should_stop)
            found.append(self._one(hunt, keys, mine, staged))
        return found

    def work(self, rivals: Sequence[Rival], images: ImageSet) -> int:
        """Forwards that those rivals spend on an image that are made whatever they cost."""
        return sum(self._work(rival.attack, images) for rival in rivals if rival.wanted)

    def _affordable(
        self,
        rival: Rival,
        left: list[int],
        total: int,
        attack: AttackSpec,
        images: ImageSet,
        variant: LoadedVariant,
    ) -> list[int]:
        """The survivors to try, evenly chosen; none if it is neither wanted nor cheap."""
        work = self._work(rival.attack, images)
        if not rival.wanted and work * len(left) > self._work(attack, images) * total:
            return []
        budget = _BUDGET.get(variant.device.type, _ACCELERATED)
        most = int(budget / max(work * variant.accounting["macs"], 1))
        count = min(len(left), max(_FEWEST, most))
        return [left[place] for place in np.linspace(0, len(left) - 1, count).round().astype(int)]

    def _work(self, attack: AttackSpec, images: ImageSet) -> int:
        """Forwards of one image at most; 0 if unknown."""
        plan = attack_plan.parts(attack, len(images.class_names), "fp32")
        return sum(part.work for part in plan)

    def _one(self, hunt: _Hunt, keys: RunKeys, mine: set[int], staged: Staged) -> Checked:
        """What is stored of this check, or what it finds now; ``mine`` the run itself broke."""
        attack = hunt.rival.attack
        naive, label = hunt.rival.naive, hunt.rival.label
        key = survivors_key(keys.run, attack, hunt.places, naive=naive)
        stored = self._store.stage(key)
        if stored:
            return Checked(**stored)
        begun = time.perf_counter()
        reason = staged("check", label, lambda: self._searched(hunt))
        if reason:
            return Checked(attack.name, label, 0, [], reason, naive=naive)
        broken = set(hunt.broken)
        check = Checked(
            attack.name,
            label,
            len(set(hunt.places) - mine),
            sorted(broken - mine),
            missed=[place for place in hunt.places if place in mine - broken],
            everyone=hunt.rival.everyone,
            naive=naive,
            images=len(hunt.places),
        )
        kind, seconds = "naive" if naive else "black-box", time.perf_counter() - begun
        self._store.put_stage(key, kind, check.to_dict(), seconds)
        return check

    def _searched(self, hunt: _Hunt) -> str:
        """Make a search; why it could not be made, empty if it was."""
        hunt.tell.total = len(hunt.places)
        try:
            in_batches(
                lambda start, stop: hunt.attack(start, stop, self._precision),
                0,
                len(hunt.places),
                self._batch_size,
            )
        except Cancelled:
            raise
        except torch.OutOfMemoryError:
            return "it does not fit into memory."
        except CrumpleError as error:
            return error.message
        return ""


def _tried(samples: Sequence[SampleRow], rival: Rival) -> list[int]:
    """Places of what a rival is to attack: survivors, or all that was right without an attack."""
    if rival.naive:
        return list(range(len(samples)))
    if rival.everyone:
        right = (row["clean_prediction"] == row["label"] for row in samples)
        return [place for place, one in enumerate(right) if one]
    return [place for place, row in enumerate(samples) if not row["broken"]]


def _naive(variant: LoadedVariant, attack: AttackSpec) -> LoadedVariant:
    """A variant as the naive form of an attack searches it."""
    assert variant.naive is not None
    return replace(variant, view=naive_search(variant.naive, attack))


@dataclass
class _Hunt:
    """One rival at work on images of a run.

    Attributes:
        places: of the images that it tries.
        broken: places of those that it broke so far.
    """

    spec: Run
    images: ImageSet
    variant: LoadedVariant
    rival: Rival
    places: list[int]
    tell: _Teller
    should_stop: ShouldStop
    broken: list[int] = field(default_factory=list)

    def attack(self, start: int, stop: int, precision: str) -> None:
        """Attack these of the places."""
        part = torch.tensor(self.places[start:stop])
        self.tell.begin(start, stop)
        result = search(
            self.rival.attack,
            self.images,
            part,
            self.variant,
            precision=precision,
            seed=self.spec.seed_of_attack,
            observer=self.tell.step,
            should_stop=self.should_stop,
        ).result
        self.broken.extend(part[result.broken.cpu()].tolist())


class _Teller:
    """Tells how far a check is, at a bounded rate.

    Args:
        run_id: the run.
        rival: that tries the survivors.
        images: of the run.
        precision: of the search.
        later: work of the checks that come after it, as a multiple of its own.
        emit: where messages go.

    Attributes:
        total: survivors that it tries.
    """

    total = 1

    def __init__(
        self,
        run_id: int,
        rival: Rival,
        images: ImageSet,
        precision: str,
        later: float,
        emit: Emit,
    ) -> None:
        self._run_id, self._detail, self._later, self._emit = run_id, rival.label, later, emit
        plan = attack_plan.parts(rival.attack, len(images.class_names), precision)
        self._begun = time.perf_counter()
        self._pace = BatchPace(plan, self._begun)
        self._span, self._sent, self._share = (0, 0), float("-inf"), 0.0

    def begin(self, start: int, stop: int) -> None:
        """These of the survivors come next."""
        self._span = start, stop
        self._pace.start(time.perf_counter())

    def step(self, point: StepPoint) -> None:
        """One step of theirs is over."""
        self._pace.step(point)
        now = time.perf_counter()
        if now - self._sent < INTERVAL:
            return
        self._sent = now
        start, stop = self._span
        done = (start + (stop - start) * self._pace.share) / self.total
        self._share = max(self._share, min(done, 1.0))
        spent = now - self._begun
        left = spent * (1 - self._share + self._later) / self._share if self._share else None
        self._emit(
            CheckProgress(
                run_id=self._run_id, detail=self._detail, share=self._share, seconds_left=left
            )
        )
