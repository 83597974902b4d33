"""What the entries of the library torchattacks share: ids, parameters under its own names."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.catalog.attacks.ball import EpsParams
from engine.catalog.attacks.torchattacks.formulas import FORMULAS
from engine.catalog.entry import AttackEntry, Kind, Number, Params, Trait, format_number

STEPS: tuple[Trait, ...] = ("gradient", "iterative")
"""Traits of what follows the gradient in a ball, step by step."""

DRAWN_STEPS: tuple[Trait, ...] = (*STEPS, "seeded")
"""The same with a start or steps that are drawn at random."""


def library_entry(
    name: str,
    family: str,
    summary: str,
    paper: str,
    params: type[Params],
    norm: str,
    limits: str = "",
    *,
    traits: tuple[Trait, ...],
    kinds: tuple[Kind, ...] = (),
) -> AttackEntry:
    """The entry of one class of the library.

    ``traits`` are its own. In all of them the arithmetic is not made for bf16, and a step of the
    axis is one forward, of which nobody knows how many there will be.
    """
    return AttackEntry(
        id=f"torchattacks.{name}",
        title=f"torchattacks {name}",
        family=f"torchattacks, {family}",
        summary=summary,
        paper=paper,
        params=params,
        limits=limits,
        norm=norm,
        traits=frozenset({*traits, "fp32", "open length"}),
        kinds=frozenset(kinds),
        formula=FORMULAS[name],
    )


class StepParams(EpsParams):
    """Sign steps in an Linf ball."""

    alpha: Number = Field(
        2 / 255, gt=0, le=1, title="alpha", description="Length of a step, for pixels in [0, 1]."
    )
    steps: int = Field(10, ge=1, le=10_000, title="steps", description="Gradient steps.")

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} {format_number(self.eps)}"


class L2StepParams(StepParams):
    """Steps of equal length in an L2 ball."""

    eps: Number = Field(
        1.0, ge=0, le=1000, title="eps", description="Radius of the L2 ball around each image."
    )
    alpha: Number = Field(
        0.2, gt=0, le=1000, title="alpha", description="L2 length of a step, pixels in [0, 1]."
    )


def random_start(default: bool) -> Any:
    """The field ``random_start``."""
    return Field(default, title="random start", description="Start at a random point of the ball.")


def decay(default: float) -> Any:
    """The field ``decay``."""
    return Field(
        default, ge=0, le=10, title="decay", description="Weight of the momentum; 0 is none."
    )


def eot_iter(default: int) -> Any:
    """The field ``eot_iter``."""
    return Field(
        default, ge=1, le=1000, title="eot iter", description="Gradients averaged per step."
    )


def kappa() -> Any:
    """The field ``kappa``."""
    return Field(0.0, ge=0, le=1e4, title="kappa", description="Logit margin to be reached.")


def tiny_divisor() -> Any:
    """The field ``eps_for_division``."""
    return Field(
        1e-10,
        gt=0,
        le=1,
        title="eps for division",
        description="Added to the length of a gradient before dividing by it.",
    )
