"""The training recipes on offer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from engine.catalog.entry import Conditions, Entry, Number, Params, Section, section

_FOLDED: dict[str, JsonValue] = {"group": "training"}
"""For what is seldom changed."""

Schedule = Literal["one-cycle", "cosine", "multistep"]

Augmentation = Literal["auto", "none", "shift", "crop", "crop-flip"]

SCHEDULES = (
    "One cycle: up, then down. Cosine: down to 0. Multistep: a tenth after half of the steps, "
    "a hundredth after three quarters."
)


class StandardParams(Params):
    """Parameters of a training run."""

    only_with: ClassVar[Conditions] = {
        "momentum": ("optimizer", ("sgd",)),
        "nesterov": ("optimizer", ("sgd",)),
    }

    epochs: int = Field(60, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    batch_size: int = Field(
        128,
        ge=2,
        le=65_536,
        title="batch size",
        description="Images a step; a single one left at the end joins the step before.",
        json_schema_extra=_FOLDED,
    )
    lr: Number = Field(0.1, gt=0, le=10, title="learning rate", description="Its largest value.")
    momentum: Number = Field(
        0.9,
        ge=0,
        lt=1,
        title="momentum",
        description="Momentum of SGD.",
        json_schema_extra=_FOLDED,
    )
    weight_decay: Number = Field(
        5e-4,
        ge=0,
        le=1,
        title="weight decay",
        description="L2 penalty.",
        json_schema_extra=_FOLDED,
    )
    schedule: Schedule = Field(
        "one-cycle", title="schedule", description=SCHEDULES, json_schema_extra=_FOLDED
    )
    nesterov: bool = Field(
        True,
        title="Nesterov",
        description="Look ahead by the momentum.",
        json_schema_extra=_FOLDED,
    )
    optimizer: Literal["sgd", "adam"] = Field(
        "sgd",
        title="optimiser",
        description="Adam takes neither momentum nor Nesterov.",
        json_schema_extra=_FOLDED,
    )
    augmentation: Augmentation = Field(
        "auto",
        title="augmentation",
        description="Random changes of the images: shift by a pixel, or crops after padding by "
        "four, with or without mirroring. Auto: crop-flip for colour pictures from 24 pixels, "
        "crop for svhn, whose digits have no mirror image, else shift. For letters or digits of "
        "your own (folder, npz) in colour choose crop.",
        json_schema_extra=_FOLDED,
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        title="precision",
        description="Of the passes; bf16 is autocast with channels-last. Auto: bf16 where the "
        "device has matrix units for it.",
        json_schema_extra=_FOLDED,
    )


class AdversarialParams(StandardParams):
    """Parameters of training on examples made against the current weights."""

    eps: Number = Field(8 / 255, ge=0, le=1, title="eps", description="Radius of the Linf ball.")
    attack_steps: int = Field(
        10, ge=1, le=1000, title="attack steps", description="PGD steps per batch."
    )
    attack_step_size: Number | None = Field(
        None,
        gt=0,
        le=1,
        title="attack step size",
        description="Length of a PGD step; without it 2.5 eps / steps.",
        json_schema_extra=_FOLDED,
    )
    attack_mode: Literal["eval", "train"] = Field(
        "eval",
        title="attack mode",
        description="Mode of the network while examples are searched. In train mode every step "
        "of the search moves the BatchNorm statistics, as some published code does.",
        json_schema_extra=_FOLDED,
    )
    attack_start: Literal["in range", "as coded"] = Field(
        "in range",
        title="attack start",
        description="Where PGD starts: in the part of the ball that lies in [0,1]; or anywhere "
        "in the ball, so that the first gradient may be taken outside, as the code of RAP-ADMM, "
        "ARD and IAD does. TRADES and RSLAD start beside the image whatever this says.",
        json_schema_extra=_FOLDED,
    )

    def trains_robustly(self) -> bool:
        return self.eps > 0

    @property
    def step_size(self) -> float:
        """The length of a PGD step."""
        if self.attack_step_size is None:
            return 2.5 * self.eps / self.attack_steps
        return self.attack_step_size


class PgdAtParams(AdversarialParams):
    """Parameters of PGD adversarial training."""


class TradesParams(AdversarialParams):
    """Parameters of TRADES."""

    beta: Number = Field(
        6, ge=0, le=1000, title="beta", description="Weight of the divergence against accuracy."
    )


RECIPES: dict[str, type[StandardParams]] = {
    "standard": StandardParams,
    "pgd-at": PgdAtParams,
    "trades": TradesParams,
}
"""The parameter model of each training recipe."""


OF_RECIPE: Conditions = {
    name: ("training", tuple(kind for kind, model in RECIPES.items() if name in model.model_fields))
    for name in TradesParams.model_fields
    if name not in StandardParams.model_fields
}
"""Where a parameter ``training`` chooses the recipe: which recipes the others are of."""


def group_of(params: type[Params], name: str) -> str:
    """The heading under which a form folds a parameter away; empty if it is always shown.

    What a step took over from the training recipes is grouped as there: by inheritance, or with
    the same name and type.
    """
    own = params.model_fields[name]
    shared = TradesParams.model_fields.get(name)
    same = [shared] if shared and shared.annotation == own.annotation else []
    bases = [one.model_fields for one in params.__mro__ if issubclass(one, Params)]
    for field in (own, *(fields[name] for fields in bases if name in fields), *same):
        if isinstance(field.json_schema_extra, dict) and "group" in field.json_schema_extra:
            return str(field.json_schema_extra["group"])
    return ""


def entries() -> Section:
    """All training recipes, by id."""
    return section(
        Entry(
            id="standard",
            title="Standard training",
            family="training",
            summary="SGD on the cross-entropy of clean images.",
            paper="",
            formula="CE(f(x), y)",
            params=RECIPES["standard"],
        ),
        Entry(
            id="pgd-at",
            title="PGD adversarial training",
            family="training",
            summary="SGD on the cross-entropy of PGD examples made against the current weights.",
            paper="Madry 2018, arXiv 1706.06083, eq. 2",
            formula="CE(f(x̃), y), x̃ = PGD examples in the ball",
            params=RECIPES["pgd-at"],
        ),
        Entry(
            id="trades",
            title="TRADES",
            family="training",
            summary="SGD on the cross-entropy of clean images plus beta times the divergence of "
            "the predictions nearby.",
            paper="Zhang 2019, arXiv 1901.08573, eq. 5",
            formula="CE(f(x), y) + β KL(f(x) ‖ f(x̃)), x̃ maximises the divergence in the ball",
            params=RECIPES["trades"],
        ),
    )
