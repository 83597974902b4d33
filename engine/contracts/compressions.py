"""The rules of compression steps, tried on the bundled network of digits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import catalog, compression
from engine.compression import Context, Variant
from engine.contracts.attacks import MODEL
from engine.contracts.rule import Rule, drawn
from engine.costs.accounting import Accounting, account
from engine.costs.packing import pack, payload_of, unpack
from engine.data import ImageSet, load, training_images
from engine.evaluation.guard import forked_rng, random_state
from engine.models import fingerprint
from engine.models import load as load_model
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec

_IMAGES, _TRAINING = 32, 200
_OFF = 0.02
"""How far what is achieved may be from what was asked for, as a share."""


class CompressionRules:
    """Tries the rules on one step of the catalogue."""

    def __init__(self, id_: str) -> None:
        self._step = make_step({"name": id_})
        self._card = catalog.model_card(MODEL)
        images = load(DatasetSpec(name="digits", limit=_IMAGES), 0).images
        assert isinstance(images, Tensor)
        self._images = images

    def rules(self) -> Iterator[Rule]:
        """All that can be asked of it."""
        yield "runs with its defaults and gives logits", self._runs
        yield "gives the same for the same seed", self._repeats
        yield "leaves the global random state alone", self._draws_nothing
        yield "leaves the training images as they were", self._leaves_images
        yield "trained form, deployed model and attack view agree", self._agree
        yield "is the same bit by bit when saved and loaded", self._saved
        yield "is what the accounting says", self._accounted
        yield "achieves what it was asked for", self._achieved

    @cached_property
    def _training(self) -> ImageSet:
        return training_images(DatasetSpec(name="digits", train_limit=_TRAINING))

    def _made(self, seed: int = 0) -> Variant:
        images = self._training
        context = Context(
            calibration=images.images[:],
            seed=seed,
            training=images,
            teacher=lambda name: load_model(self._card).eval().requires_grad_(False),
            shape=self._card.shape,
        )
        return compression.apply(load_model(self._card), (self._step,), context)

    @cached_property
    def _variant(self) -> Variant:
        return self._made()

    def _runs(self) -> str:
        deployed = self._variant.deployed()
        with torch.no_grad():
            logits = deployed(self._images)
        if logits.shape != (_IMAGES, self._card.classes):
            return f"it gives an output of shape {tuple(logits.shape)}"
        return "" if bool(logits.isfinite().all()) else "its logits are not finite"

    def _repeats(self) -> str:
        one, two = (fingerprint(made.deployed()) for made in (self._variant, self._made()))
        return "" if one == two else "two runs with one seed give different weights"

    def _draws_nothing(self) -> str:
        before = random_state()
        self._made()
        return drawn(before)

    def _leaves_images(self) -> str:
        fresh = training_images(DatasetSpec(name="digits", train_limit=_TRAINING))
        self._made()
        return "" if self._training.fingerprint == fresh.fingerprint else "it changes them"

    def _agree(self) -> str:
        deployed = self._variant.deployed()
        compression.check_agreement(deployed, self._variant.live, self._images)
        compression.check_agreement(deployed, self._variant.attack_view(), self._images)
        return ""

    def _saved(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            compression.save(self._variant, self._card, Path(folder))
            again = compression.load(Path(folder)).deployed()
        same = fingerprint(again) == fingerprint(self._variant.deployed())
        return "" if same and self._answers_alike(again) else "it is another network"

    @torch.no_grad()
    def _answers_alike(self, other: nn.Module) -> bool:
        with forked_rng(0):
            mine = self._variant.deployed()(self._images)
        with forked_rng(0):
            return torch.equal(mine, other(self._images))

    @cached_property
    def _accounting(self) -> Accounting:
        return account(load_model(self._card), self._variant, self._card.shape)

    def _accounted(self) -> str:
        file = pack(self._variant, self._card)
        size, said = len(payload_of(file)), self._accounting.packed_bytes
        if size != said:
            return f"packed it takes {size:,} bytes, where the accounting says {said:,}"
        return "" if self._answers_alike(unpack(file)) else "unpacked it is another network"

    def _achieved(self) -> str:
        params = catalog.find("compressions", self._step.name).params
        asked = params.model_validate(self._step.params).requested()
        for name, wanted in asked.items():
            got = float(getattr(self._accounting, name))
            if abs(got - wanted) > _OFF * max(1.0, wanted):
                return f"{name} is {got:.3g} where {wanted:.3g} was asked for"
        return ""
