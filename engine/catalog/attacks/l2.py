"""Gradient attacks inside a ball that differ from plain PGD: in the norm, or in what counts."""

from __future__ import annotations

from pydantic import Field

from engine.catalog.attacks.ball import EpsParams, PgdParams
from engine.catalog.entry import AttackEntry, Number, Section, section


class PgdL2Params(PgdParams):
    """Parameters of PGD with normalised steps."""

    eps: Number = Field(
        0.5, ge=0, le=1000, title="eps", description="Radius of the L2 ball around each image."
    )
    step_size: Number | None = Field(
        None,
        gt=0,
        le=1000,
        title="step size",
        description="L2 length of a step; empty means 10 eps / steps.",
    )


class FoolboxPgdParams(EpsParams):
    """Parameters of Foolbox's LinfPGD, under that library's names and with its defaults."""

    rel_stepsize: Number = Field(
        0.01 / 0.3,
        gt=0,
        le=10,
        title="relative step size",
        description="Length of a step as a share of eps (library name).",
    )
    steps: int = Field(40, ge=1, le=10_000, title="steps", description="Gradient steps.")
    random_start: bool = Field(
        True, title="random start", description="Start at a uniform point of the ball."
    )


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        AttackEntry(
            id="pgd-l2",
            title="PGD L2",
            family="gradient, L2",
            summary="Projected ascent in steps of equal L2 length, best iterate kept.",
            paper="Madry 2018, arXiv 1706.06083, eq. 4",
            formula="xₜ₊₁ = Π(xₜ + α g / ‖g‖₂), g = ∇CE(xₜ), α = 10 ε / steps unless given, x₀ "
            "uniform in the ball",
            params=PgdL2Params,
            norm="L2",
            traits=frozenset(
                {"gradient", "seeded", "iterative", "drops broken", "keeps best", "finishes"}
            ),
            kinds=frozenset({"cross-entropy"}),
        ),
        AttackEntry(
            id="fb-pgd",
            title="PGD (Foolbox)",
            family="gradient, Linf",
            summary="PGD at the defaults of Foolbox 3.3.4; only the last iterate counts.",
            paper="Rauber 2020, JOSS 5(53), 2607",
            formula="xₜ₊₁ = Π(xₜ + α sign ∇CE(xₜ)), α = rel_stepsize ε, x₀ uniform in the ball",
            params=FoolboxPgdParams,
            norm="Linf",
            traits=frozenset({"gradient", "seeded", "iterative"}),
            kinds=frozenset({"cross-entropy"}),
        ),
    )
