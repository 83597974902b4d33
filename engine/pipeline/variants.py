"""The variants of base models: made once, stored by content key, examined before an attack."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from engine import catalog, compression, diagnostics
from engine.compression import Variant
from engine.costs import integer_check, latency
from engine.costs.accounting import account
from engine.data import ImageSet, looks_at_test_images, training_for
from engine.data import load as load_images
from engine.errors import DataError, ModelError
from engine.host.batches import fewer
from engine.host.memory import memory_errors
from engine.models import fingerprint
from engine.models import load as load_model
from engine.pipeline.epoch_log import RecipeWatch
from engine.pipeline.recipe_stage import RecipeStage
from engine.specs.study import Run
from engine.store import Payload, RunKeys, RunRow, Writer
from engine.store.seals import gone
from engine.store.stage_keys import diagnostics_key, learns

Staged = Callable[[str, str, Callable[[], Any]], Any]

_UNWATCHED = RecipeWatch()

CALIBRATION_IMAGES = 512
GATE_IMAGES = 256


@dataclass(frozen=True)
class LoadedVariant:
    """A variant on its device, ready to be attacked.

    Attributes:
        deployed: what would be shipped; gives the verdicts.
        view: its differentiable twin; used to search.
        naive: what somebody searches who does not adapt to its defences; None if it has none.
        accounting: what compression saved.
        fingerprint: of the deployed weights.
    """

    deployed: nn.Module
    view: nn.Module
    accounting: Payload
    fingerprint: str
    device: torch.device
    naive: nn.Module | None = None


def _in_front(variant: LoadedVariant) -> list[diagnostics.Flag]:
    """How what stands in front of a network is searched."""
    return [
        diagnostics.Flag(
            "straight-through-view",
            "info",
            f"What stands in front of the network ({front.kind}) {front.searched}. Verdicts are "
            "on the deployed model.",
        )
        for front in compression.fronts(variant.deployed)
        if front.searched
    ]


class Variants:
    """Makes, stores and loads variants; the last one and its parent stay in memory."""

    def __init__(self, store: Writer, device: torch.device) -> None:
        self._store, self.device = store, device
        self._recipes = RecipeStage(store)
        self._loaded: dict[str, LoadedVariant] = {}
        self._parents: dict[str, nn.Module] = {}

    def get(
        self, spec: Run, keys: RunKeys, staged: Staged, watch: RecipeWatch = _UNWATCHED
    ) -> LoadedVariant:
        """The variant of a run, from memory, from the store, or made now.

        Args:
            spec: the run.
            keys: of the run.
            staged: computes a stage by name and detail.
            watch: is told of the epochs of steps that train, and may stop them.
        """
        if keys.variant not in self._loaded:
            self._loaded = {}  # the memory of the one before is for the next
            payload = self._store.stage(keys.variant)
            if payload and compression.is_stored(self._store.variant_folder(keys.variant)):
                loaded = self._load(keys, payload)
            else:
                loaded = self._make(spec, keys, staged, watch)
            self._loaded = {keys.variant: loaded}
        return self._loaded[keys.variant]

    def forget(self) -> None:
        """Keep no model in memory."""
        self._loaded, self._parents = {}, {}

    def _load(self, keys: RunKeys, payload: Payload) -> LoadedVariant:
        variant = compression.load(self._store.variant_folder(keys.variant))
        return self._place(variant, payload["accounting"])

    def _make(self, spec: Run, keys: RunKeys, staged: Staged, watch: RecipeWatch) -> LoadedVariant:
        begun = time.perf_counter()
        card = catalog.model_card(spec.model)
        if spec.recipe and not card.compressible:
            raise ModelError(
                f"The model {card.id!r} cannot be compressed: steps cannot work on its layers.",
                "It can be attacked as it is, as the variant 'none'.",
            )
        base = staged("model", card.title, lambda: load_model(card))
        context = self._context(card, spec, base)
        made = self._recipes.make(base, card, spec, context, staged, watch)
        variant = made.variant
        accounting = staged("accounting", "", lambda: account(base, variant, card.shape))
        if not spec.recipe:
            compression.save(variant, card, self._store.variant_folder(keys.variant))
        payload = {
            "steps": list(made.steps),
            "accounting": accounting.model_dump(mode="json"),
            "latency": staged("accounting", "latency", lambda: self._latency(base, variant, card)),
        }
        payload |= integer_check.row(variant, context, staged)
        self._store.put_stage(keys.variant, "variant", payload, time.perf_counter() - begun)
        return self._place(variant, payload["accounting"])

    def _latency(self, base: nn.Module, variant: Variant, card: catalog.ModelCard) -> list[Payload]:
        """Both measured as they would be shipped, on the device that attacks them.

        Empty if it does not hold both: an attack takes the memory of one.
        """
        models = variant.deployed(), Variant(base, ()).deployed()
        try:
            with memory_errors():
                deployed, parent = (model.to(self.device) for model in models)
        except torch.OutOfMemoryError:
            return []
        found = latency.measure(deployed, parent, card.shape, self.device)
        return [one.model_dump(mode="json") for one in found]

    def _context(self, card: catalog.ModelCard, spec: Run, base: nn.Module) -> compression.Context:
        images = self._training(card, spec)

        def teacher(name: str) -> nn.Module:
            model = copy.deepcopy(base) if name == "base" else load_model(catalog.model_card(name))
            return model.eval().requires_grad_(False)

        return compression.Context(
            calibration=None if images is None else images.images[:CALIBRATION_IMAGES],
            seed=spec.seed_of_variant,
            training=images,
            device=self.device,
            teacher=teacher,
            shape=catalog.model_card(spec.model).shape,
            test=self._test(spec),
        )

    @staticmethod
    def _test(spec: Run) -> ImageSet | None:
        """The images that are attacked later, for recipes with a step that looks at them."""
        wanted = looks_at_test_images(spec.recipe)
        return load_images(spec.dataset, spec.seed_of_images) if wanted else None

    @staticmethod
    def _training(card: catalog.ModelCard, spec: Run) -> ImageSet | None:
        """What steps learn from; where none does, the gate looks at some if there are any."""
        if not spec.recipe:
            return None
        try:
            return training_for(spec.dataset, card)
        except DataError:
            if learns(spec.recipe):
                raise
            return None

    def _place(self, variant: Variant, accounting: Payload) -> LoadedVariant:
        deployed = variant.deployed()
        return LoadedVariant(
            deployed=deployed.to(self.device),
            view=variant.attack_view().to(self.device),
            accounting=accounting,
            fingerprint=fingerprint(deployed),
            device=self.device,
            naive=variant.naive_view().to(self.device) if variant.defends else None,
        )

    def examine(
        self,
        spec: Run,
        keys: RunKeys,
        images: ImageSet,
        staged: Staged,
        tell: Callable[[str, float], None] = lambda what, share: None,
    ) -> Payload:
        """The gate that every variant passes before it is attacked; ``tell`` hears how far it is.

        Its key, flags and numbers, and the twins of the attack view to search (``searched``).
        """
        key = diagnostics_key(keys.variant, keys.data)
        stored = self._store.stage(key)
        if stored:
            return {**stored, "key": key}
        begun = time.perf_counter()
        variant = self.get(spec, keys, staged)
        count = min(GATE_IMAGES, len(images.labels))

        def examine(start: int, stop: int) -> diagnostics.ViewChoice:
            gate = images.images[start:stop].to(self.device)
            labels = images.labels[start:stop].to(self.device)
            diagnostics.require_logits(variant.deployed, gate, labels)
            parent = self._parent_view(spec.model) if spec.recipe else None
            choice = diagnostics.choose_view(
                variant.deployed, variant.view, gate, labels, parent, tell
            )
            if not choice.random:
                compression.check_agreement(variant.deployed, variant.view, gate)
            return choice

        choice = staged("diagnostics", "", lambda: fewer(examine, count))
        payload: Payload = {
            "flags": [flag.to_dict() for flag in (*choice.report.flags, *_in_front(variant))],
            "numbers": choice.report.numbers,
            "twins": list(choice.twins),
        }
        self._store.put_stage(key, "diagnostics", payload, time.perf_counter() - begun)
        return {**payload, "key": key}

    def searched(self, variant: LoadedVariant, gate: Payload) -> LoadedVariant:
        """A variant as its gate wants it searched and judged (``examine``)."""
        twins = gate["twins"]
        return replace(
            variant,
            naive=diagnostics.naive_view(variant.view, variant.naive, twins),
            view=diagnostics.wrapped(variant.view, twins),
            deployed=diagnostics.judged(variant.deployed, twins),
        )

    def as_examined(self, variant: LoadedVariant, row: RunRow) -> LoadedVariant:
        """A variant as the stored gate of a run wants it; as it is where none is stored.

        Raises:
            StoreError: the run passed this gate, and it is gone.
        """
        key = diagnostics_key(row["variant_key"], row["data_key"])
        gate = self._store.stage(key)
        if gate is None and row["checks"].get("gate") == key:
            raise gone("gate", row["id"])
        return self.searched(variant, gate) if gate else variant

    def _parent_view(self, model: str) -> nn.Module:
        if model not in self._parents:
            base = load_model(catalog.model_card(model))
            parent = compression.apply(base, (), compression.Context(calibration=None, seed=0))
            self._parents = {model: parent.attack_view().to(self.device)}
        return self._parents[model]
