"""The parts of AutoAttack in torchattacks, the whole, and SPSA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.catalog.attacks.ball import EpsParams, NormParams
from engine.catalog.attacks.torchattacks.base import DRAWN_STEPS, STEPS, eot_iter, library_entry
from engine.catalog.entry import Entry, Kind, Number, Params, Section, Trait, format_number, section


def _restarts() -> int:
    attempts: int = Field(
        1, ge=1, le=100, title="n restarts", description="Attempts, on what survived the last."
    )
    return attempts


class RestartedParams(NormParams):
    """Gradient attacks with restarts in a ball of a chosen norm."""

    steps: int = Field(
        10, ge=1, le=10_000, title="steps", description="Gradient steps; the authors use 100."
    )
    n_restarts: int = _restarts()

    def label(self, title: str) -> str:
        return super().label(f"{title}-{self.steps}")


class ApgdTargetedParams(RestartedParams):
    """Parameters of ``APGDT``."""

    eot_iter: int = eot_iter(1)
    rho: Number = Field(
        0.75,
        ge=0,
        le=1,
        title="rho",
        description="Share of the steps that must raise the loss, or the step size is halved.",
    )


class ApgdParams(ApgdTargetedParams):
    """Parameters of ``APGD``."""

    loss: Literal["ce", "dlr"] = Field(
        "ce", title="loss", description="Cross-entropy or difference-of-logits ratio."
    )


class FabParams(RestartedParams):
    """Parameters of ``FAB``; L1, which the library knows too, is no norm of our verdicts."""

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
        le=1,
        title="beta",
        description="Share of its way that a point keeps when it goes back.",
    )
    multi_targeted: bool = Field(
        False,
        title="multi targeted",
        description="Towards up to 9 classes in turn instead of the nearest of all.",
    )


class SquareParams(NormParams):
    """Parameters of ``Square``."""

    n_queries: int = Field(
        5000, ge=1, le=1_000_000, title="n queries", description="Forwards per image at most."
    )
    n_restarts: int = _restarts()
    p_init: Number = Field(
        0.8,
        gt=0,
        le=1,
        title="p init",
        description="Share of the pixels that the first windows cover.",
    )
    loss: Literal["margin", "ce"] = Field(
        "margin", title="loss", description="Margin of the logits or cross-entropy."
    )
    resc_schedule: bool = Field(
        True,
        title="resc schedule",
        description="Shrink the windows over n queries instead of over 10,000.",
    )


class AutoAttackParams(NormParams):
    """Parameters of ``AutoAttack``."""

    version: Literal["standard", "plus", "rand"] = Field(
        "standard", title="version", description="Which attacks, in a row on the survivors."
    )

    def label(self, title: str) -> str:
        version = "" if self.version == "standard" else f"-{self.version}"
        return super().label(f"{title}{version}")


class SpsaParams(EpsParams):
    """Parameters of ``SPSA``."""

    eps: Number = Field(
        0.3, ge=0, le=1, title="eps", description="Radius of the ball around each image."
    )
    delta: Number = Field(
        0.01, gt=0, le=1, title="delta", description="Distance of the two points of a difference."
    )
    lr: Number = Field(0.01, gt=0, le=10, title="lr", description="Step size of Adam.")
    nb_iter: int = Field(1, ge=1, le=10_000, title="nb iter", description="Steps.")
    nb_sample: int = Field(
        128, ge=1, le=100_000, title="nb sample", description="Differences averaged per step."
    )
    max_batch_size: int = Field(
        64, ge=1, le=10_000, title="max batch size", description="Copies of an image per forward."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.nb_iter}x{self.nb_sample} {format_number(self.eps)}"


_FAMILY = "AutoAttack"
_APGD = "Croce 2020, arXiv 2003.01690"


def _entry(
    name: str,
    summary: str,
    paper: str,
    params: type[Params],
    limits: str = "",
    traits: tuple[Trait, ...] = (*DRAWN_STEPS, "keeps best"),
    kinds: tuple[Kind, ...] = (),
) -> Entry:
    return library_entry(
        name, _FAMILY, summary, paper, params, "Linf", limits, traits=traits, kinds=kinds
    )


def entries() -> Section:
    """The attacks of this family, by id."""
    tile = "L2: images at least 5 high, of a size that its first tiles fit."
    return section(
        _entry(
            "APGD",
            "APGD with 10 steps, where the authors and apgd-ce use 100.",
            _APGD,
            ApgdParams,
            "Loss dlr: 3 classes.",
            kinds=("cross-entropy",),
        ),
        _entry(
            "APGDT",
            "Targeted APGD with 10 steps, where the authors and apgd-t use 100.",
            _APGD,
            ApgdTargetedParams,
            "4 classes.",
            kinds=("margin",),
        ),
        _entry(
            "FAB",
            "FAB with 10 steps, where the authors and fab-t use 100; counts if in the ball.",
            "Croce 2020, arXiv 1907.02044",
            FabParams,
            traits=STEPS,
            kinds=("closest",),
        ),
        _entry(
            "Square",
            "Random search with the same windows for the whole batch; square draws for each image.",
            "Andriushchenko 2020, arXiv 1912.00049",
            SquareParams,
            tile,
            traits=("seeded", "keeps best"),
            kinds=("gradient-free",),
        ),
        _entry(
            "AutoAttack",
            "Its gradient parts take 10 steps instead of 100, so it overstates robustness; "
            "use autoattack.",
            _APGD,
            AutoAttackParams,
            f"4 classes, version rand 3. {tile}",
            traits=("gradient", "seeded"),
            kinds=("gradient-free",),
        ),
        library_entry(
            "SPSA",
            "gradient-free, Linf",
            "Gradient estimated from differences, the same for the whole batch; its one default "
            "step is weak, use square.",
            "Uesato 2018, arXiv 1802.05666",
            SpsaParams,
            "Linf",
            traits=("seeded",),
        ),
    )
