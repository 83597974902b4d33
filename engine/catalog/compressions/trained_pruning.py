"""The pruning steps on offer that train: what to remove, and what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from engine.catalog.compressions.shared_fields import BatchParams, Recipe, SelectionParams, like
from engine.catalog.compressions.student_fields import Twofold
from engine.catalog.entry import (
    ABOVE_ZERO,
    Conditions,
    Entry,
    Number,
    Params,
    Structure,
    format_number,
    setting,
)
from engine.catalog.training import OF_RECIPE

_MORE: dict[str, JsonValue] = {"group": "more"}

_NO_RETRAINING = "With 0 it is left to a later fine-tuning step."


class _Hydra(SelectionParams):
    published: ClassVar[Mapping[str, int]] = {"prune_epochs": 20, "finetune_epochs": 100}

    density: Number = Field(
        0.1,
        gt=0,
        le=1,
        title="density",
        description="Share of the weights that each convolution and linear layer keeps.",
    )
    scores: Literal["scaled", "kaiming"] = Field(
        "scaled",
        title="first scores",
        description="Scaled: in proportion to the weights. Kaiming: random, as the published "
        "code has them unless told otherwise.",
    )
    training: Recipe = Field(
        "trades",
        title="training",
        description="Objective of both trainings; eps and attack steps are of pgd-at and trades, "
        "beta of trades.",
    )
    prune_epochs: int = Field(
        20,
        ge=0,
        le=10_000,
        title="pruning epochs",
        description="Passes that train the scores, the weights frozen. With 0 the first scores "
        "decide: scaled ones keep the largest weights.",
    )
    prune_lr: Number = Field(
        0.1, gt=0, le=10, title="pruning rate", description="Largest learning rate of the scores."
    )
    finetune_epochs: int = Field(
        50,
        ge=0,
        le=10_000,
        title="fine-tuning epochs",
        description="Passes that train what is left; published with "
        f"{published['finetune_epochs']}. {_NO_RETRAINING}",
    )
    finetune_lr: Number = Field(
        0.01,
        gt=0,
        le=10,
        title="fine-tuning rate",
        description="Largest learning rate of the weights.",
    )
    freeze_bn: bool = Field(
        False,
        title="freeze BatchNorm",
        description="Keep scale and shift of BatchNorm while scores are trained; its statistics "
        "follow the pruned network all the same.",
    )
    beta: Number = like("beta")
    passes: Twofold = Field(
        "as published",
        title="forward passes",
        description="Of trades. As coded: the network also passes over the clean images before "
        "the search for examples, and once more at the end; this moves BatchNorm statistics "
        "alone, of which the search sees a little.",
        json_schema_extra=_MORE,
    )
    second_stream: str = Field(
        "",
        max_length=4096,
        title="second stream",
        description="Path of a NumPy archive with further images and labels, x_train and y_train, "
        "of which as many join each batch in both trainings, so that batches double. The "
        "published CIFAR-10 results have one of 500,000 TinyImages, labelled by a model; without "
        "a path there is none.",
        json_schema_extra=_MORE,
    )


class HydraParams(BatchParams, _Hydra):
    """Parameters of Hydra."""

    only_with: ClassVar[Conditions] = {
        **OF_RECIPE,
        "passes": ("training", ("trades",)),
        **dict.fromkeys(("prune_lr", "freeze_bn"), ("prune_epochs", ABOVE_ZERO)),
        "finetune_lr": ("finetune_epochs", ABOVE_ZERO),
    }

    def pruned_structure(self) -> Structure:
        return "unstructured"

    def trains_robustly(self) -> bool:
        return self.training_epochs() > 0 and self.is_robust(self.training)

    def further_archive(self) -> str:
        return self.second_stream if self.training_epochs() else ""

    def left_in_each_layer(self) -> float | None:
        return self.density

    def removes_nothing_after(self, before: Params) -> bool:
        left = before.left_in_each_layer()
        return left is not None and left <= self.density + 1e-9

    def label(self, title: str) -> str:
        words = f"{self.brief(title)}{self.changed('density', 'second_stream')}"
        if not self.second_stream:
            return words
        # Whole paths are too long, and names alone the same in two folders.
        mark = hashlib.sha256(self.second_stream.encode(errors="surrogatepass")).hexdigest()[:6]
        name = PurePath(self.second_stream).name
        return f"{words} {setting('second_stream', f'{name}#{mark}')}"

    def brief(self, title: str) -> str:
        return f"{title} {self.density * 100:.4g}%"


class _RapAdmm(SelectionParams):
    published: ClassVar[Mapping[str, int]] = {
        "admm_epochs": 200,
        "admm_interval": 20,
        "retrain_epochs": 200,
    }

    rate: Number = Field(
        8,
        gt=1,
        le=1000,
        title="compression rate",
        description="Weights, filters or columns of a convolution per one that stays; 8 removes "
        "7 of 8.",
    )
    pattern: Literal["irregular", "filter", "column", "bn-filter"] = Field(
        "irregular",
        title="pattern",
        description="Remove single weights, whole output filters, or columns: one input channel "
        "at one kernel position in all filters. bn-filter removes filters by the scale of the "
        "BatchNorm right behind, which is drawn in their place; its shift stays, and so do "
        "convolutions without one.",
    )
    stem: bool = Field(
        True, title="prune the stem", description="Whether the first convolution is pruned too."
    )
    admm_epochs: int = Field(
        50,
        ge=1,
        le=10_000,
        title="ADMM epochs",
        description="Passes that draw the weights towards the pattern; published with "
        f"{published['admm_epochs']}.",
    )
    admm_interval: int = Field(
        5,
        ge=1,
        le=10_000,
        title="ADMM interval",
        description="Epochs from one update of target and dual variable to the next, in which "
        "the learning rate falls to a hundredth; published with "
        f"{published['admm_interval']}.",
    )
    admm_lr: Number = Field(
        0.01, gt=0, le=10, title="ADMM rate", description="Learning rate behind each update."
    )
    rho: Number = Field(
        1e-3, gt=0, le=1000, title="rho", description="First weight of the penalty."
    )
    rho_growth: Number = Field(
        1.3, ge=1, le=100, title="growth of rho", description="Factor of rho at each update."
    )
    dual_gradient: Literal["detached", "as coded"] = Field(
        "detached",
        title="gradient of the dual",
        description="Detached: the dual variable is a constant, as in the paper. As coded: the "
        "published code lets gradient through, which multiplies the penalty by one more after "
        "each update.",
    )
    retrain_epochs: int = Field(
        50,
        ge=0,
        le=10_000,
        title="retraining epochs",
        description="Passes that train what is left; the rate falls to a tenth after 40 % and a "
        f"hundredth after 75 %; published with {published['retrain_epochs']}. {_NO_RETRAINING}",
    )
    retrain_lr: Number = Field(
        0.01, gt=0, le=10, title="retraining rate", description="First learning rate of it."
    )
    warmup_epochs: int = Field(
        0,
        ge=0,
        le=10_000,
        title="warm-up epochs",
        description="First epochs of the retraining, in which the rate rises evenly; the falls "
        "come as much later.",
        json_schema_extra=_MORE,
    )
    warmup_lr: Number = Field(
        1e-4,
        gt=0,
        le=10,
        title="warm-up rate",
        description="Learning rate at the begin of a warm-up.",
        json_schema_extra=_MORE,
    )
    label_smoothing: Number = Field(
        0,
        ge=0,
        le=0.5,
        title="label smoothing",
        description="Probability that the label leaves to all other classes in equal parts, in "
        "both trainings.",
        json_schema_extra=_MORE,
    )
    mixup: Number = Field(
        0,
        ge=0,
        le=100,
        title="mixup",
        description="Alpha of the Beta(alpha, alpha) that draws the share of an image in its "
        "mixture with another, once a batch, in both trainings; 0 mixes nothing. Examples are "
        "searched against the label of the first.",
        json_schema_extra=_MORE,
    )
    passes: Twofold = Field(
        "as published",
        title="forward passes",
        description="As coded: the network also passes over the clean images before it is "
        "trained on the examples; this moves BatchNorm statistics alone.",
        json_schema_extra=_MORE,
    )


class RapAdmmParams(BatchParams, _RapAdmm):
    """Parameters of RAP-ADMM."""

    only_with: ClassVar[Conditions] = {
        **dict.fromkeys(
            ("selection", "retrain_lr", "warmup_epochs"), ("retrain_epochs", ABOVE_ZERO)
        ),
        "warmup_lr": ("warmup_epochs", ABOVE_ZERO),
    }

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Self:
        if not self.warmup_epochs or not self.retrain_epochs:
            return self
        if self.warmup_epochs >= self.retrain_epochs:
            raise ValueError(
                f"takes warmup_epochs below retrain_epochs, {self.retrain_epochs}, "
                f"not {self.warmup_epochs}"
            )
        if self.warmup_lr > self.retrain_lr:
            most, given = format_number(self.retrain_lr), format_number(self.warmup_lr)
            raise ValueError(f"takes warmup_lr up to retrain_lr, {most}, not {given}")
        return self

    @property
    def ratio(self) -> float:
        """The share that is removed."""
        return 1 - 1 / self.rate

    def pruned_structure(self) -> Structure:
        return "unstructured" if self.pattern == "irregular" else "structured"

    def trains_robustly(self) -> bool:
        return self.eps > 0

    def left_out(self, layers: Sequence[str]) -> set[str]:
        return set() if self.stem else set(layers[:1])

    def removes_nothing_after(self, before: Params) -> bool:
        return (
            isinstance(before, RapAdmmParams)
            and before.pattern == self.pattern
            and (before.stem or not self.stem)
            and before.rate >= self.rate
        )

    def label(self, title: str) -> str:
        return f"{self.brief(title)}{self.changed('rate', 'pattern')}"

    def brief(self, title: str) -> str:
        return f"{title} {self.rate:.4g}x {self.pattern}"


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="hydra",
            title="Hydra",
            family="pruning",
            summary="Learns by a robust objective which weights each layer keeps, then trains "
            "these.",
            paper="Sehwag 2020, arXiv 2002.10509",
            formula="min over scores s of TRADES(W · top-k(|s|)), the weights frozen, s = √(6 / "
            "fan-in) W / max|W| at first; then min over W with the mask fixed",
            params=HydraParams,
            limits="Needs a dataset with training images. Epochs are compared on held-out "
            "training images unless told (the published code compares on test images). Masks save "
            "storage, not time: dense kernels multiply the zeros too.",
        ),
        Entry(
            id="rap-admm",
            title="RAP-ADMM",
            family="pruning",
            summary="Draws convolutions towards a sparse pattern during adversarial training, "
            "then cuts and trains what is left.",
            paper="Ye 2019, arXiv 1903.12561",
            formula="min of CE(f(x̃), y) + Σ ρ/2 ‖W - Z + U‖², Z ← P(W + U), U ← U + W - Z, P the "
            "projection onto the pattern, x̃ PGD examples; then W ← P(W), trained on",
            params=RapAdmmParams,
            limits="Needs a dataset with training images; linear layers stay, and so do zeros of "
            "steps before (masked_progressive of the published code, which may also fill them). "
            "The retraining keeps its most robust epoch on held-out training images unless told "
            "(the published code the lowest mean of both losses on test images). Masks save "
            "storage, not time: dense kernels multiply the zeros too.",
        ),
    )
