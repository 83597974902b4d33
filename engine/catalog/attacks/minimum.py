"""Attacks that look for the closest example, whatever its distance."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from engine.catalog.entry import AttackEntry, Number, Params, Section, format_number, section

Norm = Literal["L2", "Linf"]
Form = Literal["tightened", "as published"]

_HARDER = (
    "Searches harder than its paper, so that distances are smaller: compare with published ones in "
    "the form as published."
)


def _form(published: str) -> Any:
    return Field(
        "tightened",
        title="form",
        description="Tightened: begins at the linearised boundaries of the nearest classes and "
        "bisects between image and example in the end. As published: neither, for comparison with "
        f"published distances; {published}.",
    )


def _of_form(form: Form) -> str:
    return "" if form == "tightened" else f" {form}"


class CwL2Params(Params):
    """Parameters of the L2 attack of Carlini and Wagner."""

    binary_search_steps: int = Field(
        9, ge=1, le=30, title="binary search steps", description="Values of c tried per image."
    )
    steps: int = Field(
        10_000, ge=1, le=100_000, title="steps", description="Gradient steps for each value of c."
    )
    step_size: Number = Field(
        0.01, gt=0, le=1, title="step size", description="Of Adam, in tanh space."
    )
    confidence: Number = Field(
        0.0, ge=0, le=1e4, title="confidence", description="Logit margin an example must reach."
    )
    initial_const: Number = Field(
        1e-3, gt=0, le=1e6, title="initial c", description="First weight of the margin."
    )
    abort_early: bool = Field(
        True, title="abort early", description="Drop an image from a round once its loss stalls."
    )
    form: Form = _form("its loss may stall after a tenth of the steps, even at pixels of 0 and 1")

    def label(self, title: str) -> str:
        confidence = f" k{format_number(self.confidence)}" if self.confidence else ""
        return f"{title}-{self.binary_search_steps}x{self.steps}{confidence}{_of_form(self.form)}"


class DdnParams(Params):
    """Parameters of DDN."""

    steps: int = Field(100, ge=1, le=100_000, title="steps", description="Gradient steps.")
    init_epsilon: Number = Field(
        1.0, gt=0, le=1e4, title="first radius", description="First distance tried, L2."
    )
    gamma: Number = Field(
        0.05, gt=0, lt=1, title="gamma", description="Share by which the radius changes per step."
    )
    form: Form = _form(
        "all steps follow the cross-entropy, where else the last ones climb the margin"
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps}{_of_form(self.form)}"


class FmnParams(Params):
    """Parameters of FMN."""

    norm: Norm = Field("L2", title="norm", description="Norm in which an example shall be close.")
    steps: int = Field(100, ge=1, le=100_000, title="steps", description="Gradient steps.")
    max_step_size: Number = Field(
        1.0, gt=0, le=1e3, title="first step size", description="Length of the first step, L2."
    )
    min_step_size: Number | None = Field(
        None,
        gt=0,
        le=1e3,
        title="last step size",
        description="Length of the last step, L2; empty means a hundredth of the first.",
    )
    gamma: Number = Field(
        0.05, gt=0, lt=1, title="gamma", description="First share by which the radius changes."
    )
    form: Form = _form("first estimates of the radius are not stretched, so that some images hold")

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} {self.norm}{_of_form(self.form)}"


class DeepFoolParams(Params):
    """Parameters of DeepFool."""

    norm: Norm = Field("L2", title="norm", description="Norm in which an example shall be close.")
    steps: int = Field(50, ge=1, le=10_000, title="steps", description="Steps per image at most.")
    candidates: int = Field(
        10, ge=2, le=1000, title="candidates", description="Classes considered, the label included."
    )
    overshoot: Number = Field(
        0.02, ge=0, le=1, title="overshoot", description="Share added to the whole perturbation."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} {self.norm}"


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        AttackEntry(
            id="cw-l2",
            title="Carlini-Wagner L2",
            family="minimum norm",
            summary="Adam in tanh space with a bisected weight per image; close examples, slow.",
            paper="Carlini 2017, arXiv 1608.04644, section VI.A",
            formula="min over w of c max(0, z_y - max_k≠y z_k + κ) + ‖x' - x‖₂², x' = (tanh w + "
            "1) / 2, by Adam; c is bisected",
            params=CwL2Params,
            limits=_HARDER,
            norm="L2",
            traits=frozenset({"gradient", "no limit", "keeps best", "fp32"}),
            kinds=frozenset({"closest"}),
        ),
        AttackEntry(
            id="ddn",
            title="DDN",
            family="minimum norm",
            summary="Decoupled direction and norm: a sphere that shrinks at every success.",
            paper="Rony 2019, arXiv 1811.09600, algorithm 1",
            formula="d = xₜ + α g / ‖g‖₂ - x, xₜ₊₁ = clip(x + ρ d / ‖d‖₂); ρ grows by γ while the "
            "prediction is right and shrinks by γ while it is wrong",
            params=DdnParams,
            limits=_HARDER,
            norm="L2",
            traits=frozenset({"gradient", "no limit", "keeps best", "fp32"}),
            kinds=frozenset({"closest"}),
        ),
        AttackEntry(
            id="fmn",
            title="FMN",
            family="minimum norm",
            summary="Fast minimum norm: a ball that adapts to the distance of the boundary.",
            paper="Pintor 2021, arXiv 2102.12827, algorithm 1",
            formula="xₜ₊₁ = clip(x + Π_ρ(xₜ + α g / ‖g‖₂ - x)); ρ = (‖xₜ - x‖ + |margin| / "
            "‖g‖_dual)(1 + γ) up to the first example, then times 1 - γ where misclassified, else "
            "1 + γ",
            params=FmnParams,
            limits=_HARDER,
            norm="L2",
            traits=frozenset({"gradient", "no limit", "keeps best", "fp32"}),
            kinds=frozenset({"closest"}),
        ),
        AttackEntry(
            id="deepfool",
            title="DeepFool",
            family="minimum norm",
            summary="Steps to the closest linearised boundary; very fast, a loose upper bound.",
            paper="Moosavi-Dezfooli 2016, arXiv 1511.04599, algorithm 2",
            formula="d ← d + (|z_k - z_y| / ‖g‖_dual + 1e-4) s(g), g = ∇(z_k - z_y), k the "
            "nearest of the candidates; x' = clip(x + (1 + overshoot) d)",
            params=DeepFoolParams,
            norm="L2",
            traits=frozenset({"gradient", "no limit", "keeps best", "fp32"}),
            kinds=frozenset(),
        ),
    )
