"""Parameters that steps share with the training recipes, stated once."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.catalog.entry import Number, Params, setting
from engine.catalog.training import (
    RECIPES,
    AdversarialParams,
    Augmentation,
    StandardParams,
    TradesParams,
)

_BOUNDS = ("gt", "ge", "lt", "le")

Recipe = Literal["standard", "pgd-at", "trades"]

ON_TEST_IMAGES = "on test images"
"""Chosen by what is attacked: as published code does, and nobody should."""


def like(name: str, default: Any = ...) -> Any:
    """A field as the training recipes have it, with a default of its own if one is given."""
    field = TradesParams.model_fields[name]
    bounds = {
        bound: limit
        for constraint in field.metadata
        for bound in _BOUNDS
        if (limit := getattr(constraint, bound, None)) is not None
    }
    return Field(
        field.default if default is ... else default,
        title=field.title,
        description=field.description,
        **bounds,
    )


class SelectionParams(Params):
    """How a step whose published code looks at test images chooses the epoch that it keeps."""

    selection: Literal["held-out", "on test images"] = Field(
        "held-out",
        title="selection",
        description="Which images choose the epoch that is kept: training images held out for it, "
        "or, as in the published code, the very test images that are attacked later. What is "
        "chosen on test images looks better than it is; its runs are flagged.",
        json_schema_extra={"group": "more"},
    )

    def chooses_on_test_images(self) -> bool:
        """Whether that is asked for, and there is a training of which an epoch is chosen."""
        acts = self.training_epochs() > 0 and "selection" not in self.idle(self.model_dump())
        return acts and self.selection == ON_TEST_IMAGES


class BatchParams(Params):
    """What all trainings of a step have in common: batches, SGD and the threat model."""

    batch_size: int = like("batch_size")
    momentum: Number = like("momentum")
    weight_decay: Number = like("weight_decay", 1e-4)
    augmentation: Augmentation = like("augmentation")
    precision: Literal["auto", "fp32", "bf16"] = like("precision")
    eps: Number = like("eps")
    attack_steps: int = like("attack_steps")
    attack_step_size: Number | None = like("attack_step_size")
    attack_mode: Literal["eval", "train"] = like("attack_mode")
    attack_start: Literal["in range", "as coded"] = like("attack_start")

    def recipe(self, kind: Recipe, **own: Any) -> StandardParams:
        """The parameters of a training recipe: those it shares with this step, and ``own``."""
        model = RECIPES[kind]
        fields = type(self).model_fields
        shared = {name: getattr(self, name) for name in model.model_fields if name in fields}
        return model.model_validate(shared | own)

    def is_robust(self, kind: Recipe) -> bool:
        """Whether a training recipe makes adversarial examples in the ball of this step."""
        return issubclass(RECIPES[kind], AdversarialParams) and self.eps > 0

    def changed(self, *shown: str) -> str:
        """What differs from the defaults, for labels; without the parameters in ``shown``."""
        words = [""]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in shown and value != field.default:
                words.append(setting(name, value))
        return " ".join(words)
