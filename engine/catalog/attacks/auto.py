"""The white-box parts of AutoAttack, at its settings."""

from __future__ import annotations

from pydantic import Field

from engine.catalog.attacks.ball import RIVALS_TEXT, NormParams, tries
from engine.catalog.entry import AttackEntry, Number, Section, section


class AutoParams(NormParams):
    """What the parts of AutoAttack share."""

    steps: int = Field(
        100, ge=1, le=10_000, title="steps", description="Gradient steps per attempt."
    )

    def label(self, title: str) -> str:
        return super().label(f"{title}-{self.steps}")


class ApgdParams(AutoParams):
    """Parameters of APGD."""

    restarts: int = Field(
        1, ge=1, le=100, title="restarts", description="Attempts; the worst one counts."
    )
    rho: Number = Field(
        0.75,
        ge=0,
        le=1,
        title="rho",
        description="Share of the steps that must raise the loss, or the step size is halved.",
    )

    def label(self, title: str) -> str:
        return f"{super().label(title)}{tries(self.restarts)}"


class ApgdUntargetedParams(ApgdParams):
    """Parameters of APGD on a loss of all classes."""

    targets: int = Field(0, ge=0, le=1000, title="targets", description=RIVALS_TEXT)

    def label(self, title: str) -> str:
        return f"{super().label(title)}{tries(1, self.targets)}"


_TARGETS_TEXT = "Classes to try, from the largest logit of the clean image down."


class ApgdTargetedParams(ApgdParams):
    """Parameters of targeted APGD."""

    targets: int = Field(9, ge=1, le=1000, title="targets", description=_TARGETS_TEXT)


class FabParams(AutoParams):
    """Parameters of targeted FAB."""

    targets: int = Field(9, ge=1, le=1000, title="targets", description=_TARGETS_TEXT)
    alpha_max: Number = Field(
        0.1,
        ge=0,
        le=1,
        title="alpha max",
        description="Largest weight of the way from the clean image.",
    )
    eta: Number = Field(
        1.05, ge=1, le=2, title="eta", description="Overshoot beyond the linearised boundary."
    )
    beta: Number = Field(
        0.9,
        gt=0,
        lt=1,
        title="beta",
        description="Share of its way that a point goes back to when it crossed the boundary.",
    )


_APGD = "Croce 2020, arXiv 2003.01690"


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        AttackEntry(
            id="apgd-ce",
            title="APGD-CE",
            family="AutoAttack",
            summary="PGD with momentum and adaptive steps on the cross-entropy.",
            paper=f"{_APGD}, algorithm 1",
            formula="z = Π(xₜ + η s(∇CE(xₜ))), xₜ₊₁ = Π(xₜ + 0.75 (z - xₜ) + 0.25 (xₜ - xₜ₋₁)); s "
            "is the sign (Linf) or g / ‖g‖₂ (L2); η = 2 ε, halved at checkpoints where at most a "
            "share ρ of the steps raised the loss",
            params=ApgdUntargetedParams,
            norm="Linf",
            traits=frozenset(
                {"gradient", "seeded", "iterative", "drops broken", "keeps best", "finishes"}
            ),
            kinds=frozenset({"cross-entropy"}),
        ),
        AttackEntry(
            id="apgd-dlr",
            title="APGD-DLR",
            family="AutoAttack",
            summary="APGD on the difference-of-logits ratio, which sharp logits cannot starve.",
            paper=f"{_APGD}, eq. 6",
            formula="as apgd-ce on L = -(z_y - max_k≠y z_k) / (z₍₁₎ - z₍₃₎), z₍ᵢ₎ the i-th "
            "largest logit",
            params=ApgdUntargetedParams,
            norm="Linf",
            traits=frozenset(
                {"gradient", "seeded", "iterative", "drops broken", "keeps best", "finishes"}
            ),
            kinds=frozenset({"margin"}),
        ),
        AttackEntry(
            id="apgd-t",
            title="APGD-T",
            family="AutoAttack",
            summary="APGD on the targeted DLR loss, towards one class after the other.",
            paper=f"{_APGD}, eq. 7",
            formula="as apgd-ce on L = (z_t - z_y) / (z₍₁₎ - (z₍₃₎ + z₍₄₎) / 2), for one target t "
            "after the other",
            params=ApgdTargetedParams,
            norm="Linf",
            traits=frozenset({"gradient", "seeded", "keeps best", "finishes"}),
            kinds=frozenset({"margin"}),
        ),
        AttackEntry(
            id="fab-t",
            title="FAB-T",
            family="AutoAttack",
            summary="Searches the closest mistake towards each class; counts if in the ball.",
            paper="Croce 2020, arXiv 1907.02044",
            formula="xₜ₊₁ = clip((1 - a)(xₜ + η d(xₜ)) + a (x + η d(x))), d the way to the "
            "linearised boundary z_t = z_y at xₜ, a = min(α_max, ‖d(xₜ)‖ / (‖d(xₜ)‖ + ‖d(x)‖)); "
            "where misclassified, back to x + β (xₜ₊₁ - x)",
            params=FabParams,
            norm="Linf",
            traits=frozenset({"gradient", "keeps best", "fp32"}),
            kinds=frozenset({"closest"}),
        ),
    )
