"""The distillation steps on offer: a student learns from a teacher.

Defaults are those of the papers. Where the code behind a paper does something else, a
parameter offers both, as ``as published`` and ``as coded``.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.catalog.compressions.shared_fields import SelectionParams
from engine.catalog.compressions.student_fields import (
    BASE,
    BETA,
    TEACHER,
    TEMPERATURE,
    AsPublished,
    Defending,
    DistillationParams,
    LateSteps,
    Learning,
    SearchedAsCoded,
    Twofold,
)
from engine.catalog.entry import Conditions, Entry, Number, Params, format_number
from engine.catalog.training import SCHEDULES


class _Kd(DistillationParams):
    alpha: Number = Field(
        0.1,
        ge=0,
        le=1,
        title="alpha",
        description="Weight of the labels (cross-entropy); the teacher weighs 1 - alpha.",
    )
    temperature: Number = Field(
        4, gt=0, le=1000, title="temperature", description=TEMPERATURE + "square."
    )


class KdParams(Learning, _Kd):
    """Parameters of knowledge distillation."""

    method: ClassVar[str] = "kd"


class _Ard(DistillationParams):
    alpha: Number = Field(
        1,
        ge=0,
        le=1,
        title="alpha",
        description="Weight of the teacher; the labels of the clean images weigh 1 - alpha.",
    )
    temperature: Number = Field(
        30, gt=0, le=1000, title="temperature", description=TEMPERATURE + "square."
    )
    reduction: Literal["mean", "batchmean"] = Field(
        "mean",
        title="reduction",
        description="Of the divergence: mean, as published, also divides by the number of "
        "classes; batchmean by the number of images alone.",
    )


class ArdParams(AsPublished, _Ard):
    """Parameters of adversarially robust distillation."""

    method: ClassVar[str] = "ard"


class _Rslad(SelectionParams, DistillationParams):
    adversarial_weight: Number = Field(
        5 / 6,
        ge=0,
        le=1,
        title="adversarial weight",
        description="Of the adversarial images; the clean ones have the rest of 1.",
    )
    scale: Number = Field(
        1,
        gt=0,
        le=1000,
        title="scale",
        description="Factor of the loss, which divides by the number of classes; the authors take "
        "10 on CIFAR-100.",
    )


class RsladParams(Defending, _Rslad):
    """Parameters of robust soft label adversarial distillation."""

    method: ClassVar[str] = "rslad"

    epochs: int = Field(300, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    schedule: LateSteps = Field(  # type: ignore[assignment]
        "as published",
        title="schedule",
        description="As published: a tenth after 215, 260 and 285 of 300 epochs each. " + SCHEDULES,
    )


class _Iad1(SelectionParams, DistillationParams):
    alpha: Number = Field(
        1,
        ge=0,
        le=1,
        title="alpha",
        description="Weight of teacher and student's own prediction; the labels of the clean "
        "images weigh 1 - alpha.",
    )
    temperature: Number = Field(
        1,
        gt=0,
        le=1000,
        title="temperature",
        description=TEMPERATURE + "square. Only towards the teacher.",
    )
    beta: Number = Field(
        0.1, ge=0, le=100, title="beta", description=BETA + "the result is the trust in it."
    )
    warm_up: Number = Field(
        60 / 200,
        ge=0,
        le=1,
        title="warm-up",
        description="Share of the epochs, from the first, that trust the teacher fully.",
    )
    teacher_weighting: Twofold = Field(
        "as published",
        title="teacher weighting",
        description="As published: trust weighs the teacher's term, and what lacks to 1 the "
        "student's own. As coded: the teacher's term is never weighed.",
    )
    passes: Twofold = Field(
        "as published",
        title="forward passes",
        description="As coded: the student also passes over the adversarial images once more, and "
        "after the warm-up over the clean ones; this moves BatchNorm statistics alone.",
    )


class Iad1Params(AsPublished, _Iad1):
    """Parameters of introspective distillation from one teacher."""

    method: ClassVar[str] = "iad-1"


class _TwoTeachers(DistillationParams):
    teacher: str = Field(
        BASE, title="robust teacher", description="Adversarially trained. " + TEACHER
    )
    teacher_standard: str = Field(
        "digits-resnet",
        title="standard teacher",
        description="Trained on clean images. " + TEACHER,
    )
    alpha: Number = Field(
        0.5, ge=0, le=1, title="alpha", description="Weight of the robust teacher."
    )
    alpha_standard: Number = Field(
        0.25,
        ge=0,
        le=1,
        title="standard alpha",
        description="Weight of the standard teacher; the labels weigh what both leave of 1.",
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.alpha + self.alpha_standard > 1 + 1e-9:
            total = format_number(self.alpha + self.alpha_standard)
            raise ValueError(f"takes alpha + alpha_standard up to 1, not {total}")
        return self


class _Iad2(SelectionParams, _TwoTeachers):
    temperature: Number = Field(
        1,
        gt=0,
        le=1000,
        title="temperature",
        description=TEMPERATURE + "square. The student's own prediction is not divided.",
    )
    beta: Number = Field(
        0.1, ge=0, le=100, title="beta", description=BETA + "the result is the trust in it."
    )
    warm_up: Number = Field(
        40 / 200,
        ge=0,
        le=1,
        title="warm-up",
        description="Share of the epochs, from the first, that trust the robust teacher fully; 1 "
        "is AKD2 as the code of IAD has it.",
    )


class Iad2Params(AsPublished, _Iad2):
    """Parameters of introspective distillation from two teachers."""

    method: ClassVar[str] = "iad-2"


class _Akd2(_TwoTeachers):
    alpha: Number = Field(
        0.6, ge=0, le=1, title="alpha", description="Weight of the robust teacher."
    )
    alpha_standard: Number = Field(
        0.1,
        ge=0,
        le=1,
        title="standard alpha",
        description="Weight of the standard teacher; the labels weigh what both leave of 1.",
    )
    temperature: Number = Field(
        2,
        gt=0,
        le=1000,
        title="temperature",
        description="Divides the logits of all before the softmax; the terms of the teachers are "
        "multiplied by its square.",
    )
    swa: bool = Field(
        True,
        title="average weights",
        description="What is compared and kept is the mean of the weights at the ends of epochs "
        "(SWA), with BatchNorm statistics gathered anew over one pass of the training images. The "
        "published code has it as a switch.",
    )
    swa_start: Number = Field(
        55 / 200,
        ge=0,
        lt=1,
        title="average from",
        description="Share of the epochs that the mean leaves out, from the first; published with "
        "55 of 200.",
    )


class Akd2Params(SearchedAsCoded, _Akd2):
    """Parameters of distillation from two teachers with averaged weights."""

    method: ClassVar[str] = "akd2"
    only_with: ClassVar[Conditions] = {"swa_start": ("swa", (True,))}

    epochs: int = Field(200, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    weight_decay: Number = Field(5e-4, ge=0, le=1, title="weight decay", description="L2 penalty.")
    schedule: LateSteps = Field(  # type: ignore[assignment]
        "as published",
        title="schedule",
        description="As published: a tenth after 50 and a hundredth after 150 of 200 epochs. "
        + SCHEDULES,
    )


def _entry(
    kind: type[Params], id_: str, title: str, summary: str, paper: str, formula: str
) -> Entry:
    return Entry(
        id=id_,
        title=title,
        family="distillation",
        summary=summary,
        paper=paper,
        formula=formula,
        params=kind,
        limits="Needs a dataset with training images, and teachers for its shape and classes.",
    )


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        _entry(
            KdParams,
            "kd",
            "Knowledge distillation (KD)",
            "Trains a student on labels and softened predictions of a teacher, on clean images.",
            "Hinton 2015, arXiv 1503.02531",
            "α CE(S(x), y) + (1 - α) τ² KL(T(x) / τ ‖ S(x) / τ)",
        ),
        _entry(
            ArdParams,
            "ard",
            "Adversarially robust distillation (ARD)",
            "A student predicts for PGD examples what the teacher predicts for the clean images.",
            "Goldblum 2020, arXiv 1905.09747",
            "α τ² KL(T(x) / τ ‖ S(x̃) / τ) + (1 - α) CE(S(x), y)",
        ),
        _entry(
            RsladParams,
            "rslad",
            "Robust soft label distillation (RSLAD)",
            "The teacher's soft predictions take the place of all labels, in the loss and in the "
            "search for examples.",
            "Zi 2021, arXiv 2108.07969",
            "scale (w KL(T(x) ‖ S(x̃)) + (1 - w) KL(T(x) ‖ S(x))), where x̃ maximises "
            "KL(T(x) ‖ S(x̃)), w the weight of the adversarial images",
        ),
        _entry(
            Iad1Params,
            "iad-1",
            "Introspective distillation, one teacher (IAD-I)",
            "Like ARD, but where the teacher fails on an example the student trusts its own "
            "clean prediction.",
            "Zhu 2022, arXiv 2106.04928",
            "α τ² A KL(T(x) / τ ‖ S(x̃) / τ) + α (1 - A) KL(S(x) ‖ S(x̃)) + (1 - α) CE(S(x), y), "
            "A = softmax(T(x̃))[y]^β, 1 in the warm-up",
        ),
        _entry(
            Iad2Params,
            "iad-2",
            "Introspective distillation, two teachers (IAD-II)",
            "A robust and a standard teacher on PGD examples; where the robust one fails the "
            "student trusts its own clean prediction.",
            "Zhu 2022, arXiv 2106.04928",
            "(1 - a - b) CE(S(x̃), y) + b τ² KL(N(x̃) / τ ‖ S(x̃) / τ) + a τ² (A KL(T(x̃) / τ ‖ "
            "S(x̃) / τ) + (1 - A) KL(S(x) ‖ S(x̃))), A as in iad-1, N the standard teacher",
        ),
        _entry(
            Akd2Params,
            "akd2",
            "Distillation from two teachers with averaged weights (AKD2)",
            "A robust and a standard teacher on PGD examples; the weights are averaged over the "
            "later epochs.",
            "Chen 2021, Robust Overfitting May Be Mitigated by Properly Learned Smoothening, ICLR",
            "(1 - a - b) CE(S(x̃), y) + b τ² H(N(x̃) / τ, S(x̃) / τ) + a τ² H(T(x̃) / τ, S(x̃) / τ), "
            "H(P, Q) = -Σ P log Q, N the standard teacher",
        ),
    )
