"""Takes a base model through a recipe, step by step: each step is checked, stored and reused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from engine import compression, diagnostics
from engine.catalog import ModelCard
from engine.compression import Context, Variant
from engine.compression.reach import Layers, shortfall
from engine.data import ImageSet, lesson, looks_at_test_images
from engine.evaluation.guard import forked_rng
from engine.host import device
from engine.models import fingerprint
from engine.pipeline.epoch_log import EpochLog, RecipeWatch
from engine.specs.choices import Recipe, Step
from engine.specs.study import Run
from engine.store import Payload, Writer
from engine.store.stage_keys import recipe_key, step_key, variant_key
from engine.training import Checkpoint, Examples, hold_out

Staged = Callable[[str, str, Callable[[], Any]], Any]

_GATE_IMAGES = 256


@dataclass(frozen=True)
class Made:
    """A variant and the record of how it came about.

    Attributes:
        steps: one row a step: label, seconds, clean accuracy before and after on held-out
            training images, whether the weights changed, flags, and the epochs of its trainings;
            of steps that train also the kind of device and the precision that did.
    """

    variant: Variant
    steps: tuple[Payload, ...]


class RecipeStage:
    """Compresses, from the longest part of a recipe that is stored already."""

    def __init__(self, store: Writer) -> None:
        self._store = store

    def make(
        self,
        base: nn.Module,
        card: ModelCard,
        spec: Run,
        context: Context,
        staged: Staged,
        watch: RecipeWatch,
    ) -> Made:
        """The variant of a run.

        Args:
            base: the base model; stays as it is.
            card: of the base model.
            spec: the run.
            context: images and device; its checkpoints are named here, and who watches.
            staged: computes a stage by name and detail.
            watch: is told of the epochs of steps that train, and may stop them.
        """
        gate = _Gate(context.training)
        parts = [spec.recipe[:count] for count in range(len(spec.recipe) + 1)]
        auto = device.training_precision("auto", context.device)
        keys = [
            variant_key(
                spec.model_copy(update={"recipe": part}),
                card.basis,
                lesson(context.training, part, context.test),
                auto,
            )
            for part in parts
        ]
        steps = {"steps": [step_key(key) for key in keys[1:]]}
        self._store.put_stage(recipe_key(keys[-1]), "recipe", steps, 0.0)
        variant, done = self._start(base, spec.recipe, keys)
        records = [self._record(key) for key in keys[1 : done + 1]]
        for number in range(done, len(spec.recipe)):
            step, key = spec.recipe[number], keys[number + 1]
            begun = time.perf_counter()
            before = gate.look(variant)
            log = EpochLog(watch, step, number + 1)
            own = replace(context, checkpoint=self._checkpoints(key), watch=log.watch)
            take = partial(compression.apply_step, variant, step, own)
            variant = staged("compression", step.label, take)
            seconds = time.perf_counter() - begun
            record = gate.compare(step, before, gate.look(variant), seconds, trained=bool(log.rows))
            record |= {"epochs": log.rows, **_trained_on(step, log.rows, context)}
            compression.save(variant, card, self._store.variant_folder(key))
            self._store.put_stage(step_key(key), "step", record, seconds)
            records.append(record)
        return Made(variant, tuple(records))

    def _start(self, base: nn.Module, recipe: Recipe, keys: list[str]) -> tuple[Variant, int]:
        for count in range(len(recipe), 0, -1):
            folder = self._store.variant_folder(keys[count])
            if compression.is_stored(folder) and self._store.stage(step_key(keys[count])):
                return compression.load(folder), count
        return compression.start(base), 0

    def _record(self, key: str) -> Payload:
        return self._store.stage(step_key(key)) or {}

    def _checkpoints(self, key: str) -> Callable[[str], Checkpoint]:
        folder: Path = self._store.variant_folder(key)
        return lambda stage: Checkpoint(folder / f"training-{stage}.safetensors", key)


def _trained_on(step: Step, epochs: list[Payload], context: Context) -> Payload:
    """Device and precision of a training, for the record; nothing if there was none."""
    if not epochs:
        return {}
    asked = str(step.params.get("precision", "auto"))
    precision = device.training_precision(asked, context.device)
    return {"device": context.device.type, "precision": precision}


@dataclass(frozen=True)
class _Look:
    fingerprint: str
    clean: float | None
    flags: tuple[diagnostics.Flag, ...]
    zero_gradient: float | None
    layers: Layers


class _Gate:
    """Looks at a variant before and after a step, on images that no step learns from."""

    def __init__(self, training: ImageSet | None) -> None:
        held: Examples | None = hold_out(training)[1] if training is not None else None
        self._images = None if held is None else held.images[:_GATE_IMAGES]
        self._labels = None if held is None else held.labels[:_GATE_IMAGES]

    def look(self, variant: Variant) -> _Look:
        """Fingerprint, clean accuracy and gradient health of what would be deployed."""
        with forked_rng(0):  # where it is random, the same each time
            return self._looked(variant)

    def _looked(self, variant: Variant) -> _Look:
        deployed, layers = variant.deployed(), Layers.of(variant.live)
        if self._images is None or self._labels is None:
            return _Look(fingerprint(deployed), None, (), None, layers)
        print_, view = fingerprint(deployed), variant.attack_view()
        logits = diagnostics.forward(deployed, self._images)
        if diagnostics.in_company(deployed, self._images, logits).by_many:
            view = diagnostics.OneByOne(view)
            logits = diagnostics.forward(diagnostics.OneByOne(deployed), self._images)
        clean = float((logits.argmax(dim=1) == self._labels).float().mean())
        health = diagnostics.followed_health(view, self._images, self._labels)
        flags = (*diagnostics.check_accuracy(logits, self._labels), *health.flags())
        return _Look(print_, clean, flags, health.zero_fraction, layers)

    def compare(
        self, step: Step, before: _Look, after: _Look, seconds: float, *, trained: bool
    ) -> Payload:
        """The record of a step."""
        flags = list(after.flags)
        changed = before.fingerprint != after.fingerprint
        if not changed:
            text = f"{step.label} left every weight as it was: this variant equals the one before."
            flags.append(diagnostics.Flag("unchanged", "warning", text))
        if text := shortfall(step, before.layers, after.layers):
            flags.append(diagnostics.Flag("partly", "warning", text))
        if trained and looks_at_test_images((step,)):
            text = f"{step.label} chose its epoch on the very images that are attacked, as its "
            text += "published code does: accuracies on them are higher than on others."
            flags.append(diagnostics.Flag("chosen-on-test", "warning", text))
        return {
            "step": step.label,
            "seconds": seconds,
            "changed": changed,
            "clean_before": before.clean,
            "clean_after": after.clean,
            "zero_gradient": after.zero_gradient,
            "flags": [flag.to_dict() for flag in flags],
        }
