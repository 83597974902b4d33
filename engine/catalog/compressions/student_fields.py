"""Parameters that the distillation steps share: who learns from whom, and how fast."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.catalog.entry import Number, format_number, setting
from engine.catalog.models.architectures import SAME, StudentParams
from engine.catalog.training import SCHEDULES, AdversarialParams, StandardParams

BASE = "base"
"""The teacher that is the base model before all steps."""

FRESH_RATE, GENTLE_RATE = 0.1, 0.01
"""Of a student with fresh weights, and of one that has weights to lose."""

Twofold = Literal["as published", "as coded"]
MultistepOrCoded = Literal["as published", "as coded", "one-cycle", "cosine", "multistep"]
LateSteps = Literal["as published", "one-cycle", "cosine", "multistep"]

TEACHER = "The base model before all steps (base), or a model of the catalogue; it stays as it is."
TEMPERATURE = "Divides the logits of both before the softmax; the divergence is multiplied by its "
BETA = "Power of the probability that the teacher gives the true class of an adversarial image; "


class DistillationParams(StudentParams):
    """What every distillation asks: who learns from whom."""

    method: ClassVar[str]

    teacher: str = Field(BASE, title="teacher", description=TEACHER)

    @property
    def rate(self) -> float:
        """The learning rate, also where none is given."""
        given: float | None = getattr(self, "lr", None)
        return given or (FRESH_RATE if self.student != SAME else GENTLE_RATE)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The models of the catalogue that teach."""
        given = (getattr(self, name, BASE) for name in ("teacher", "teacher_standard"))
        return tuple(name for name in given if name != BASE)

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


class Learning(StandardParams):
    """Training of a student on clean images."""

    lr: Number | None = _rate()  # type: ignore[assignment]


class Defending(AdversarialParams):
    """Training of a robust student, with the defaults that the papers share."""

    lr: Number | None = _rate()  # type: ignore[assignment]
    weight_decay: Number = Field(2e-4, ge=0, le=1, title="weight decay", description="L2 penalty.")
    nesterov: bool = Field(False, title="Nesterov", description="Look ahead by the momentum.")


class SearchedAsCoded(Defending):
    """Training of a robust student whose published code searches examples in train mode."""

    attack_mode: Literal["eval", "train"] = Field(
        "eval",
        title="attack mode",
        description="Mode of the student while examples are searched. As coded it is train, where "
        "every step of the search moves the BatchNorm statistics.",
    )


class AsPublished(SearchedAsCoded):
    """What ARD and IAD share."""

    epochs: int = Field(200, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    schedule: MultistepOrCoded = Field(  # type: ignore[assignment]
        "as published",
        title="schedule",
        description="As published: a tenth after half of the epochs, a hundredth after three "
        "quarters. As coded: a tenth after half, and nothing more. " + SCHEDULES,
    )
