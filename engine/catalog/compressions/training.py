"""The steps on offer that only train."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.catalog.entry import (
    Conditions,
    Defence,
    Entry,
    Number,
    Params,
    format_number,
    setting,
)
from engine.catalog.models.architectures import SAME, StudentParams
from engine.catalog.training import (
    OF_RECIPE,
    RECIPES,
    SCHEDULES,
    Schedule,
    StandardParams,
    TradesParams,
)


class _Trained(Params):
    training: Literal["standard", "pgd-at", "trades"] = Field(
        "standard",
        title="training",
        description="Training recipe; eps and attack steps are of pgd-at and trades, beta of "
        "trades.",
    )


class RetrainParams(TradesParams, _Trained):
    """A training recipe and its parameters, gentler by default, for steps that train."""

    only_with: ClassVar[Conditions] = OF_RECIPE

    epochs: int = Field(10, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    batch_size: int = Field(64, ge=2, le=65_536, title="batch size", description="Images a step.")
    lr: Number = Field(0.01, gt=0, le=10, title="learning rate", description="Its largest value.")
    schedule: Schedule = Field("cosine", title="schedule", description=SCHEDULES)

    def recipe(self) -> StandardParams:
        """The parameters of the training recipe, without those that it does not know."""
        kind = RECIPES[self.training]
        return kind.model_validate({name: getattr(self, name) for name in kind.model_fields})

    def trains_robustly(self) -> bool:
        return self.recipe().trains_robustly()

    def training_label(self, *, brief: bool = False) -> str:
        """The recipe, and what differs from its defaults."""
        words = [self.training, f"{self.epochs}ep"]
        if self.training != "standard":
            words.append(format_number(self.eps))
        for name in self.recipe().model_dump(exclude={"epochs", "eps"}):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default and not brief:
                words.append(setting(name, value))
        return " ".join(words)


class FinetuneParams(RetrainParams, StudentParams):
    """Parameters of fine-tuning."""

    def defends_by(self) -> Defence:
        return "adversarial training" if self.trains_robustly() else ""

    def label(self, title: str) -> str:
        return self._label(title, brief=False)

    def brief(self, title: str) -> str:
        return self._label(title, brief=True)

    def _label(self, title: str, *, brief: bool) -> str:
        student = [] if self.student == SAME else [self.student]
        return " ".join([title, *student, self.training_label(brief=brief)])


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="finetune",
            title="Fine-tuning",
            family="training",
            summary="Trains what the steps before left, masks and quantisers acting, or a new "
            "network.",
            paper="Han 2015, arXiv 1506.02626",
            formula="the loss of the chosen training recipe",
            params=FinetuneParams,
            limits="Needs a dataset with training images.",
        ),
    )
