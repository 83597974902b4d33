"""Gradient attacks inside a ball."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.catalog.entry import (
    AttackEntry,
    Conditions,
    Number,
    Params,
    Section,
    Trait,
    format_number,
    section,
)


class EpsParams(Params):
    """Anything bounded by an Linf ball."""

    eps: Number = Field(
        8 / 255, ge=0, le=1, title="eps", description="Radius of the ball around each image."
    )

    def label(self, title: str) -> str:
        return f"{title} {format_number(self.eps)}"


class NormParams(EpsParams):
    """Anything bounded by a ball of a chosen norm."""

    eps: Number = Field(
        8 / 255,
        ge=0,
        le=1000,
        title="eps",
        description="Radius of the ball around each image; in Linf at most 1.",
    )
    norm: Literal["Linf", "L2"] = Field(
        "Linf", title="norm", description="Norm of the ball; usual radii in L2 are 0.5 to 3."
    )

    @model_validator(mode="after")
    def _eps_fits_norm(self) -> Self:
        if self.norm == "Linf" and self.eps > 1:
            raise ValueError(f"takes eps up to 1 in Linf, not {format_number(self.eps)}")
        return self

    def label(self, title: str) -> str:
        norm = "" if self.norm == "Linf" else f" {self.norm}"
        return f"{title}{norm} {format_number(self.eps)}"


class FgsmParams(EpsParams):
    """Parameters of FGSM."""


RIVALS_TEXT = (
    "Rival classes that get an attempt of their own per restart, which climbs their logit alone "
    "(Gowal 2019); 0 climbs the attack's own loss. All classes less one is the strongest choice."
)


def tries(restarts: int, targets: int = 0) -> str:
    """What a label says of the attempts: nothing where there is one."""
    words = [f"x{restarts}"] if restarts > 1 else []
    if targets:
        words.append(f"{targets} target{'s' if targets > 1 else ''}")
    return "".join(f" {word}" for word in words)


class PgdParams(EpsParams):
    """Parameters of PGD with sign steps."""

    only_with: ClassVar[Conditions] = {"restarts": ("random_start", (True,))}

    steps: int = Field(40, ge=1, le=10_000, title="steps", description="Gradient steps.")
    step_size: Number | None = Field(
        None,
        gt=0,
        le=1,
        title="step size",
        description="Length of a step; empty means 2.5 eps / steps (Madry 2018).",
    )
    random_start: bool = Field(
        True, title="random start", description="Start at a uniform point of the ball."
    )
    restarts: int = Field(
        1, ge=1, le=100, title="restarts", description="Attempts; the worst one counts."
    )
    targets: int = Field(0, ge=0, le=1000, title="targets", description=RIVALS_TEXT)

    def label(self, title: str) -> str:
        eps, more = format_number(self.eps), tries(self.restarts, self.targets)
        return f"{title}-{self.steps} {eps}{more}"


CLIMBS: tuple[Trait, ...] = (
    "gradient",
    "seeded",
    "iterative",
    "drops broken",
    "keeps best",
    "finishes",
)
"""Traits of what climbs a loss from a random start with the shared loop."""


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        AttackEntry(
            id="fgsm",
            title="FGSM",
            family="gradient, Linf",
            summary="One sign step of length eps; fast and weak.",
            paper="Goodfellow 2015, arXiv 1412.6572, eq. 1",
            formula="x' = clip(x + ε sign ∇CE(x))",
            params=FgsmParams,
            norm="Linf",
            traits=frozenset({"gradient", "single step", "keeps best"}),
            kinds=frozenset(),
        ),
        AttackEntry(
            id="pgd",
            title="PGD",
            family="gradient, Linf",
            summary="Projected sign-gradient ascent on the cross-entropy, best iterate kept.",
            paper="Madry 2018, arXiv 1706.06083, eq. 4",
            formula="xₜ₊₁ = Π(xₜ + α sign ∇CE(xₜ)), α = 2.5 ε / steps unless given, x₀ uniform in "
            "the ball",
            params=PgdParams,
            norm="Linf",
            traits=frozenset(
                {"gradient", "seeded", "iterative", "drops broken", "keeps best", "finishes"}
            ),
            kinds=frozenset({"cross-entropy"}),
        ),
    )
