"""Gradient attacks of torchattacks inside an Linf or L2 ball."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.catalog.attacks.ball import EpsParams
from engine.catalog.attacks.torchattacks.base import (
    DRAWN_STEPS,
    STEPS,
    L2StepParams,
    StepParams,
    decay,
    eot_iter,
    library_entry,
    random_start,
    tiny_divisor,
)
from engine.catalog.entry import Entry, Kind, Number, Params, Section, Trait, section


class BimParams(StepParams):
    """Parameters of ``BIM``."""

    steps: int = Field(
        10,
        ge=0,
        le=10_000,
        title="steps",
        description="Gradient steps; 0 is min(255 eps + 4, 1.25 x 255 eps), as in the paper.",
    )


class PgdParams(StepParams):
    """Parameters of ``PGD``."""

    random_start: bool = random_start(True)


class EotPgdParams(StepParams):
    """Parameters of ``EOTPGD``."""

    eot_iter: int = eot_iter(2)
    random_start: bool = random_start(True)


class FfgsmParams(EpsParams):
    """Parameters of ``FFGSM``."""

    alpha: Number = Field(
        10 / 255, gt=0, le=2, title="alpha", description="Length of the step after the start."
    )


class UpgdParams(StepParams):
    """Parameters of ``UPGD``."""

    random_start: bool = random_start(False)
    loss: Literal["ce", "dlr", "margin"] = Field(
        "ce",
        title="loss",
        description="Cross-entropy, difference-of-logits ratio, or margin up to 0.",
    )
    decay: Number = decay(1.0)
    eot_iter: int = eot_iter(1)


class JitterParams(StepParams):
    """Parameters of ``Jitter``."""

    scale: Number = Field(
        10.0, gt=0, le=1e4, title="scale", description="Largest logit after rescaling."
    )
    std: Number = Field(
        0.1, ge=0, le=10, title="std", description="Deviation of the noise on the probabilities."
    )
    random_start: bool = random_start(True)


class SmoothedParams(Params):
    """The noise of attacks on smoothed classifiers."""

    noise_type: Literal["guassian", "uniform"] = Field(
        "guassian", title="noise type", description="Of the smoothing; the library's spelling."
    )
    noise_sd: Number = Field(
        0.5, ge=0, le=10, title="noise sd", description="Deviation, or half the range if uniform."
    )
    noise_batch_size: int = Field(
        5, ge=1, le=10_000, title="noise batch size", description="Noisy copies of each image."
    )
    batch_max: int = Field(
        2048, ge=1, le=1_000_000, title="batch max", description="Copies in one forward at most."
    )

    @model_validator(mode="after")
    def _one_image_fits(self) -> Self:
        if self.batch_max < self.noise_batch_size:
            raise ValueError(
                f"needs batch_max of at least noise_batch_size {self.noise_batch_size}"
            )
        return self


class PgdRsParams(SmoothedParams, StepParams):
    """Parameters of ``PGDRS``."""


class PgdL2Params(L2StepParams):
    """Parameters of ``PGDL2``."""

    random_start: bool = random_start(True)
    eps_for_division: Number = tiny_divisor()


class PgdRsL2Params(SmoothedParams, L2StepParams):
    """Parameters of ``PGDRSL2``."""

    eps_for_division: Number = tiny_divisor()


_SALMAN = "Salman 2019, arXiv 1906.04584"
_SMOOTHED = "PGD on a smoothed classifier; weak on a model that sees no noise, where"


_ONE_STEP: tuple[Trait, ...] = ("gradient", "single step")
_CE: tuple[Kind, ...] = ("cross-entropy",)


def _linf(
    name: str,
    summary: str,
    paper: str,
    params: type[Params],
    limits: str = "",
    traits: tuple[Trait, ...] = DRAWN_STEPS,
    kinds: tuple[Kind, ...] = _CE,
) -> Entry:
    family = "gradient, Linf"
    return library_entry(
        name, family, summary, paper, params, "Linf", limits, traits=traits, kinds=kinds
    )


def _l2(
    name: str, summary: str, paper: str, params: type[Params], kinds: tuple[Kind, ...] = _CE
) -> Entry:
    family = "gradient, L2"
    return library_entry(
        name, family, summary, paper, params, "L2", traits=DRAWN_STEPS, kinds=kinds
    )


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(*_plain(), *_varied(), *_other_norm())


def _plain() -> tuple[Entry, ...]:
    return (
        _linf(
            "FGSM",
            "One sign step.",
            "Goodfellow 2015, arXiv 1412.6572",
            EpsParams,
            traits=_ONE_STEP,
            kinds=(),
        ),
        _linf(
            "FFGSM",
            "One sign step from a random start.",
            "Wong 2020, arXiv 2001.03994",
            FfgsmParams,
            traits=(*_ONE_STEP, "seeded"),
            kinds=(),
        ),
        _linf(
            "BIM",
            "Iterated FGSM from the clean image; returns the last iterate, pgd keeps the best.",
            "Kurakin 2017, arXiv 1607.02533",
            BimParams,
            traits=STEPS,
        ),
        _linf(
            "RFGSM",
            "Iterated FGSM from a random corner alpha away; returns the last iterate.",
            "Tramer 2018, arXiv 1705.07204",
            StepParams,
        ),
        _linf(
            "PGD",
            "PGD from a random start; returns the last iterate, pgd keeps the best.",
            "Madry 2018, arXiv 1706.06083",
            PgdParams,
        ),
    )


def _varied() -> tuple[Entry, ...]:
    return (
        _linf(
            "EOTPGD",
            "PGD on averaged gradients, for models with a random forward.",
            "Zimmermann 2019, arXiv 1907.00895",
            EotPgdParams,
        ),
        _linf(
            "TPGD",
            "PGD away from the clean prediction in KL divergence, as in TRADES; sees no label.",
            "Zhang 2019, arXiv 1901.08573",
            StepParams,
            kinds=(),
        ),
        _linf(
            "UPGD",
            "PGD with a choice of loss, momentum and averaging; returns the last iterate.",
            "Kim 2020, arXiv 2010.01950",
            UpgdParams,
            "Loss dlr: 3 classes.",
            traits=STEPS,
        ),
        _linf(
            "Jitter",
            "PGD on the squared error of rescaled, noisy probabilities.",
            "Schwinn 2021, arXiv 2105.10304",
            JitterParams,
        ),
        _linf("PGDRS", f"{_SMOOTHED} pgd is stronger.", _SALMAN, PgdRsParams, kinds=()),
    )


def _other_norm() -> tuple[Entry, ...]:
    return (
        _l2(
            "PGDL2",
            "PGD in steps of equal length; returns the last iterate, pgd-l2 keeps the best.",
            "Madry 2018, arXiv 1706.06083",
            PgdL2Params,
        ),
        _l2("PGDRSL2", f"{_SMOOTHED} pgd-l2 is stronger.", _SALMAN, PgdRsL2Params, kinds=()),
    )
