"""The attack stage of a run: batch by batch, each stored before the next begins."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np
import torch

from engine.attacks import AttackResult, StepPoint, run_attack
from engine.data import ImageSet
from engine.events import Emit, ShouldStop
from engine.host.batches import in_batches
from engine.pipeline import attack_plan
from engine.pipeline.progress import ProgressMeter
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

        def attack(start: int, stop: int) -> None:
            self._batch(run_id, spec, images, variant, start, stop, kept, meter, should_stop)

        in_batches(attack, first, len(images.labels), self.batch_size)
        return self._used(spec, images, variant)

    def _used(self, spec: Run, images: ImageSet, variant: LoadedVariant) -> str:
        """What an attack says of itself on no image: batches may have been stored before."""
        none = slice(0, 0)
        return run_attack(
            variant.deployed,
            images.images[none].to(variant.device),
            images.labels[none].to(variant.device),
            spec.attack,
            view=variant.view,
            precision=self.precision,
        ).precision

    def _batch(
        self,
        run_id: int,
        spec: Run,
        images: ImageSet,
        variant: LoadedVariant,
        start: int,
        stop: int,
        kept: int,
        meter: ProgressMeter,
        should_stop: ShouldStop,
    ) -> None:
        meter.start_batch(stop - start)
        result = run_attack(
            variant.deployed,
            images.images[start:stop].to(variant.device),
            images.labels[start:stop].to(variant.device),
            spec.attack,
            view=variant.view,
            precision=self.precision,
            seed=spec.seed,
            observer=meter.step,
            should_stop=should_stop,
        )
        keep = max(0, min(kept, stop) - start)
        arrays = {
            "index": images.indices[start : start + keep].numpy(),
            "adversarial": result.adversarial[:keep].cpu().numpy().astype(np.float32),
        }
        batch: NewBatch = {
            "start": start,
            "size": stop - start,
            "seconds": result.seconds,
            "telemetry": _telemetry(result.curve),
            "notes": [note.to_dict() for note in result.remarks],
        }
        self.store.add_batch(run_id, batch, _rows(images, start, stop, result), arrays)
        meter.end_batch(result.broken_at_step.tolist())


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


def _rows(images: ImageSet, start: int, stop: int, result: AttackResult) -> list[SampleRow]:
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
    lists = {name: column.tolist() for name, column in columns.items()}
    rows = zip(*lists.values(), strict=True)
    return [cast(SampleRow, dict(zip(lists, row, strict=True))) for row in rows]
