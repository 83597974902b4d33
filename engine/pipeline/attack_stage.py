"""The attack stage of a run: batch by batch, each stored before the next begins."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch

from engine.attacks import AttackResult, StepPoint, run_attack
from engine.attacks.cascade import Settled
from engine.catalog.worst_case import WORST_CASE
from engine.data import ImageSet
from engine.events import Emit, ShouldStop
from engine.host.batches import in_batches
from engine.pipeline import attack_plan
from engine.pipeline.known_examples import KnownSources
from engine.pipeline.progress import ProgressMeter
from engine.pipeline.search import search
from engine.pipeline.variants import LoadedVariant
from engine.specs.study import Run
from engine.store import NewBatch, Payload, RunKeys, SampleRow, Writer

MAX_TELEMETRY = 2000
"""Telemetry rows stored per batch at most."""


class AttackStage:
    """Attacks what is not yet stored of a run, in batches that the memory holds.

    Args:
        store: where batches go.
        emit: where progress goes.
        precision: of the search.
        batch_size: images attacked together at most.
    """

    def __init__(self, store: Writer, emit: Emit, precision: str, batch_size: int) -> None:
        self.store, self.emit = store, emit
        self.precision, self.batch_size = precision, batch_size

    def run(
        self,
        run_id: int,
        spec: Run,
        keys: RunKeys,
        images: ImageSet,
        variant: LoadedVariant,
        should_stop: ShouldStop,
        after: int = 0,
    ) -> str:
        """Attack every image that has no stored verdict.

        The time left tells of ``after`` too: forwards of later checks of an image that holds.

        Returns:
            The precision that the search has, ``fp32`` or ``bf16``.
        """
        kept = min(spec.keep_images, len(images.labels))
        self.store.keep_images(keys.data, {"images": images.images[:kept].cpu().numpy()})
        plan = attack_plan.parts(spec.attack, len(images.class_names), self.precision)
        meter = ProgressMeter(run_id, len(images.labels), self.emit, plan=plan, after=after)
        stored = self.store.batches(run_id)
        meter.restore(
            [row["broken_at_step"] for row in self.store.samples(run_id)],
            [row["size"] for row in stored],
        )
        first = sum(row["size"] for row in stored)
        known = KnownSources(self.store, run_id, images)

        def attack(start: int, stop: int) -> None:
            meter.start_batch(stop - start)
            settled = search(
                spec.attack,
                images,
                slice(start, stop),
                variant,
                known.of(start, stop) if spec.attack.name == WORST_CASE else (),
                precision=self.precision,
                seed=spec.seed_of_attack,
                observer=meter.step,
                should_stop=should_stop,
            )
            self._keep(run_id, images, start, settled, kept)
            meter.end_batch(settled.result.broken_at_step.tolist())

        in_batches(attack, first, len(images.labels), self.batch_size)
        return self._used(spec, images, variant)

    def _used(self, spec: Run, images: ImageSet, variant: LoadedVariant) -> str:
        """What attacks say of themselves on no image: batches may have been stored before."""
        none = slice(0, 0)
        used = {
            run_attack(
                variant.deployed,
                images.images[none].to(variant.device),
                images.labels[none].to(variant.device),
                attack,
                view=variant.view,
                precision=self.precision,
            ).precision
            for attack in spec.attack.members
        }
        return "bf16" if "bf16" in used else "fp32"

    def _keep(self, run_id: int, images: ImageSet, start: int, settled: Settled, kept: int) -> None:
        """Store a batch: verdicts, and examples of the images that are kept."""
        result = settled.result
        size = len(result.broken)
        keep = max(0, min(kept, start + size) - start)
        adversarial = result.adversarial.cpu().numpy().astype(np.float32)
        arrays = {
            "index": images.indices[start : start + keep].numpy(),
            "adversarial": adversarial[:keep],
        }
        if any(settled.by):
            # What the next variants of a worst-case study begin with, and nobody else has.
            more = settled.found.cpu().numpy().nonzero()[0]
            more = more[more >= keep]
            arrays |= {"more_place": start + more, "more": adversarial[more]}
        batch: NewBatch = {
            "start": start,
            "size": size,
            "seconds": result.seconds,
            "telemetry": _telemetry(result.curve),
            "notes": [note.to_dict() for note in result.remarks],
        }
        rows = _rows(images, start, start + size, result, settled.by)
        self.store.add_batch(run_id, batch, rows, arrays)


def _telemetry(curve: tuple[StepPoint, ...]) -> list[Payload]:
    """One row per step; of a long attack an even selection with the last step."""
    stride = 1 + len(curve) // MAX_TELEMETRY
    return [_point(point) for point in curve[::-stride][::-1]]


def _point(point: StepPoint) -> Payload:
    """Telemetry as JSON has it: no NaN."""
    values: dict[str, Any] = dataclasses.asdict(point)
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _rows(
    images: ImageSet, start: int, stop: int, result: AttackResult, settled_by: Sequence[str]
) -> list[SampleRow]:
    columns: dict[str, torch.Tensor] = {
        "index": images.indices[start:stop],
        "label": images.labels[start:stop],
        "clean_prediction": result.clean_predictions,
        "adversarial_prediction": result.adversarial_predictions,
        "clean_confidence": result.clean_confidence,
        "adversarial_confidence": result.adversarial_confidence,
        "broken": result.broken,
        "l2": result.l2,
        "linf": result.linf,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "broken_at_step": result.broken_at_step,
    }
    lists: dict[str, Sequence[Any]] = {name: one.tolist() for name, one in columns.items()}
    lists["settled_by"] = settled_by
    rows = zip(*lists.values(), strict=True)
    return [cast(SampleRow, dict(zip(lists, row, strict=True))) for row in rows]
