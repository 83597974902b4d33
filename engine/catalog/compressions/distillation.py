"""The distillation steps on offer: a student learns from a teacher.

Defaults are those of the papers. Where the code behind a paper does something else, a
parameter offers both, as ``as published`` and ``as coded``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.catalog.entry import Entry, Number, Params, format_number, setting
from engine.catalog.models import cards
from engine.catalog.models.architectures import SAME, StudentParams
from engine.catalog.training import SCHEDULES, AdversarialParams, StandardParams

BASE = "base"
"""The teacher that is the base model before all steps."""

FRESH_RATE, GENTLE_RATE = 0.1, 0.01
"""Of a student with fresh weights, and of one that has weights to lose."""

Twofold = Literal["as published", "as coded"]
MultistepOrCoded = Literal["as published", "as coded", "one-cycle", "cosine", "multistep"]
LateSteps = Literal["as published", "one-cycle", "cosine", "multistep"]

_TEACHER = "The base model before all steps (base), or a model of the catalogue; it stays as it is."
_TEMPERATURE = "Divides the logits of both before the softmax; the divergence is multiplied by its "
_BETA = "Power of the probability that the teacher gives the true class of an adversarial image; "


class DistillationParams(StudentParams):
    """What every distillation asks: who learns from whom."""

    method: ClassVar[str]

    teacher: str = Field(BASE, title="teacher", description=_TEACHER)

    @property
    def rate(self) -> float:
        """The learning rate, also where none is given."""
        given: float | None = getattr(self, "lr", None)
        return given or (FRESH_RATE if self.student != SAME else GENTLE_RATE)

    @field_validator("teacher", "teacher_standard", check_fields=False)
    @classmethod
    def _known(cls, name: str) -> str:
        known = (BASE, *cards.entries())
        if name not in known:
            raise ValueError(f"must be one of: {', '.join(known)}")
        return name

    def label(self, title: str) -> str:
        return self._label(title, brief=False)

    def brief(self, title: str) -> str:
        return self._label(title, brief=True)

    def _label(self, title: str, *, brief: bool) -> str:
        words = [title] if self.student == SAME else [title, self.student]
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "student" or value == info.default:
                continue
            shown = format_number(value) if isinstance(value, float) else str(value)
            short = {"epochs": f"{shown}ep", "eps": shown}.get(name)
            if short or not brief:
                words.append(short or setting(name, value))
        return " ".join(words)


def _rate() -> Any:
    return Field(
        None,
        gt=0,
        le=10,
        title="learning rate",
        description=f"Its largest value; by default {FRESH_RATE:g} for a new student and "
        f"{GENTLE_RATE:g} for one that begins from weights, which a larger one would undo.",
    )


class _Learning(StandardParams):
    """Training of a student on clean images."""

    lr: Number | None = _rate()  # type: ignore[assignment]


class _Defending(AdversarialParams):
    """Training of a robust student, with the defaults that the papers share."""

    lr: Number | None = _rate()  # type: ignore[assignment]
    weight_decay: Number = Field(2e-4, ge=0, le=1, title="weight decay", description="L2 penalty.")
    nesterov: bool = Field(False, title="Nesterov", description="Look ahead by the momentum.")


class _Published(_Defending):
    """What ARD and IAD share."""

    epochs: int = Field(200, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    schedule: MultistepOrCoded = Field(  # type: ignore[assignment]
        "as published",
        title="schedule",
        description="As published: a tenth after half of the epochs, a hundredth after three "
        "quarters. As coded: a tenth after half, and nothing more. " + SCHEDULES,
    )
    attack_mode: Literal["eval", "train"] = Field(
        "eval",
        title="attack mode",
        description="Mode of the student while examples are searched. As coded it is train, where "
        "every step of the search moves the BatchNorm statistics.",
    )


class _Kd(DistillationParams):
    alpha: Number = Field(
        0.1,
        ge=0,
        le=1,
        title="alpha",
        description="Weight of the labels (cross-entropy); the teacher weighs 1 - alpha.",
    )
    temperature: Number = Field(
        4, gt=0, le=1000, title="temperature", description=_TEMPERATURE + "square."
    )


class KdParams(_Learning, _Kd):
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
        30, gt=0, le=1000, title="temperature", description=_TEMPERATURE + "square."
    )
    reduction: Literal["mean", "batchmean"] = Field(
        "mean",
        title="reduction",
        description="Of the divergence: mean, as published, also divides by the number of "
        "classes; batchmean by the number of images alone.",
    )


class ArdParams(_Published, _Ard):
    """Parameters of adversarially robust distillation."""

    method: ClassVar[str] = "ard"


class _Rslad(DistillationParams):
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


class RsladParams(_Defending, _Rslad):
    """Parameters of robust soft label adversarial distillation."""

    method: ClassVar[str] = "rslad"

    epochs: int = Field(300, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    schedule: LateSteps = Field(  # type: ignore[assignment]
        "as published",
        title="schedule",
        description="As published: a tenth after 215, 260 and 285 of 300 epochs each. " + SCHEDULES,
    )


class _Iad1(DistillationParams):
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
        description=_TEMPERATURE + "square. Only towards the teacher.",
    )
    beta: Number = Field(
        0.1, ge=0, le=100, title="beta", description=_BETA + "the result is the trust in it."
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


class Iad1Params(_Published, _Iad1):
    """Parameters of introspective distillation from one teacher."""

    method: ClassVar[str] = "iad-1"


class _Iad2(DistillationParams):
    teacher: str = Field(
        BASE, title="robust teacher", description="Adversarially trained. " + _TEACHER
    )
    teacher_standard: str = Field(
        "digits-resnet",
        title="standard teacher",
        description="Trained on clean images. " + _TEACHER,
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
    temperature: Number = Field(
        1,
        gt=0,
        le=1000,
        title="temperature",
        description=_TEMPERATURE + "square. The student's own prediction is not divided.",
    )
    beta: Number = Field(
        0.1, ge=0, le=100, title="beta", description=_BETA + "the result is the trust in it."
    )
    warm_up: Number = Field(
        40 / 200,
        ge=0,
        le=1,
        title="warm-up",
        description="Share of the epochs, from the first, that trust the robust teacher fully; 1 "
        "is AKD2.",
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.alpha + self.alpha_standard > 1 + 1e-9:
            total = format_number(self.alpha + self.alpha_standard)
            raise ValueError(f"takes alpha + alpha_standard up to 1, not {total}")
        return self


class Iad2Params(_Published, _Iad2):
    """Parameters of introspective distillation from two teachers."""

    method: ClassVar[str] = "iad-2"


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
    )
