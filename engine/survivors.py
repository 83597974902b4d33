"""The stage after an attack: other searches on the images that it left (``diagnostics``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from engine import workload
from engine.attacks import StepPoint, run_attack
from engine.batch_pace import BatchPace
from engine.batches import in_batches
from engine.data import ImageSet
from engine.diagnostics import Checked, Rival
from engine.errors import Cancelled, CrumpleError
from engine.events import INTERVAL, CheckProgress, Emit, ShouldStop
from engine.plan import survivors_key
from engine.specs import AttackSpec, Run
from engine.store import RunKeys, Writer
from engine.variants import LoadedVariant

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
        left = [place for place, row in enumerate(samples) if not row["broken"]]
        planned = [
            (rival.attack, places)
            for rival in rivals
            if (places := self._affordable(rival, left, len(samples), spec.attack, images, variant))
        ]
        costs = [len(places) * self._work(attack, images) for attack, places in planned]
        found = []
        for number, (attack, places) in enumerate(planned):
            later = sum(costs[number + 1 :]) / max(costs[number], 1)
            tell = _Teller(run_id, attack, images, self._precision, later, self._emit)
            found.append(
                self._one(spec, keys, images, variant, attack, places, tell, staged, should_stop)
            )
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
        plan = workload.parts(attack, len(images.class_names), "fp32")
        return sum(part.work for part in plan)

    def _one(
        self,
        spec: Run,
        keys: RunKeys,
        images: ImageSet,
        variant: LoadedVariant,
        attack: AttackSpec,
        places: list[int],
        tell: _Teller,
        staged: Staged,
        should_stop: ShouldStop,
    ) -> Checked:
        key = survivors_key(keys.run, attack, places)
        stored = self._store.stage(key)
        if stored:
            return Checked(**stored)
        begun = time.perf_counter()
        chosen = torch.tensor(places)
        broken: list[int] = []
        tell.total = len(places)

        def attempt(start: int, stop: int) -> None:
            part = chosen[start:stop]
            tell.begin(start, stop)
            result = run_attack(
                variant.deployed,
                images.images[part].to(variant.device),
                images.labels[part].to(variant.device),
                attack,
                view=variant.view,
                precision=self._precision,
                seed=spec.seed,
                observer=tell.step,
                should_stop=should_stop,
            )
            broken.extend(part[result.broken.cpu()].tolist())

        def compute() -> str:
            try:
                in_batches(attempt, 0, len(places), self._batch_size)
            except Cancelled:
                raise
            except torch.OutOfMemoryError:
                return "it does not fit into memory."
            except CrumpleError as error:
                return error.message
            return ""

        reason = staged("check", attack.label, compute)
        tried = 0 if reason else len(places)
        check = Checked(attack.name, attack.label, tried, [] if reason else broken, reason)
        if not reason:
            seconds = time.perf_counter() - begun
            self._store.put_stage(key, "black-box", check.to_dict(), seconds)
        return check


class _Teller:
    """Tells how far a check is, at a bounded rate.

    Args:
        run_id: the run.
        attack: that tries the survivors.
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
        attack: AttackSpec,
        images: ImageSet,
        precision: str,
        later: float,
        emit: Emit,
    ) -> None:
        self._run_id, self._detail, self._later, self._emit = run_id, attack.label, later, emit
        plan = workload.parts(attack, len(images.class_names), precision)
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
