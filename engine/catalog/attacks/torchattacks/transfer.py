"""Attacks of torchattacks made to transfer: momentum, averaged and smoothed gradients."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.catalog.attacks.torchattacks.base import (
    DRAWN_STEPS,
    STEPS,
    StepParams,
    decay,
    library_entry,
    random_start,
)
from engine.catalog.entry import Entry, Number, Params, Section, Trait, format_number, section


class MomentumParams(StepParams):
    """Parameters of ``MIFGSM`` and ``NIFGSM``."""

    decay: Number = decay(1.0)


class ScaledParams(MomentumParams):
    """Parameters of ``SINIFGSM``."""

    m: int = Field(
        5, ge=1, le=60, title="m", description="Copies averaged; copy i is divided by 2^i."
    )


class VarianceParams(MomentumParams):
    """Parameters of ``VMIFGSM`` and ``VNIFGSM``."""

    N: int = Field(
        5, ge=1, le=1000, title="N", description="Neighbours whose gradients are averaged."
    )
    beta: Number = Field(
        1.5, ge=0, le=100, title="beta", description="Reach of the neighbours, as a share of eps."
    )


class DiversityParams(StepParams):
    """Random resizing and padding of the input."""

    decay: Number = decay(0.0)
    resize_rate: Number = Field(
        0.9,
        gt=0,
        le=2,
        title="resize rate",
        description="Smallest side of a resized image, or above 1 the largest; 1 is not possible.",
    )
    diversity_prob: Number = Field(
        0.5, ge=0, le=1, title="diversity prob", description="Share of the steps that resize."
    )
    random_start: bool = random_start(False)

    @model_validator(mode="after")
    def _resizes(self) -> Self:
        if self.resize_rate == 1:
            raise ValueError("takes a resize_rate below or above 1, not 1")
        return self


class TranslationParams(DiversityParams):
    """Parameters of ``TIFGSM``."""

    kernel_name: Literal["gaussian", "linear", "uniform"] = Field(
        "gaussian", title="kernel name", description="What the gradient is smoothed with."
    )
    len_kernel: int = Field(
        15, ge=1, le=101, title="len kernel", description="Side of the kernel in pixels."
    )
    nsig: Number = Field(
        3.0, gt=0, le=100, title="nsig", description="Deviations that a gaussian kernel reaches."
    )


class PatchParams(Params):
    """Parameters of ``PIFGSM``."""

    max_epsilon: Number = Field(
        16 / 255,
        ge=0,
        le=1,
        title="max epsilon",
        description="Radius of the ball around each image: the eps of this attack.",
    )
    num_iter_set: int = Field(
        10, ge=1, le=10_000, title="num iter set", description="Gradient steps."
    )
    momentum: Number = Field(
        1.0, ge=0, le=10, title="momentum", description="The library never reads it."
    )
    amplification: Number = Field(
        10.0, ge=0, le=1e4, title="amplification", description="Steps are this times eps / steps."
    )
    prob: Number = Field(0.7, ge=0, le=1, title="prob", description="The library never reads it.")

    def label(self, title: str) -> str:
        return f"{title}-{self.num_iter_set} {format_number(self.max_epsilon)}"


class PatchPlusParams(PatchParams):
    """Parameters of ``PIFGSMPP``."""

    project_factor: Number = Field(
        0.8, ge=0, le=100, title="project factor", description="Weight of the projected noise."
    )


_FAMILY = "transfer, Linf"
_COLOUR = "Images with three channels."
_ONE_SHAPE = "Square images."


def _entry(
    name: str,
    summary: str,
    params: type[Params],
    paper: str,
    limits: str = "",
    traits: tuple[Trait, ...] = STEPS,
) -> Entry:
    return library_entry(name, _FAMILY, summary, paper, params, "Linf", limits, traits=traits)


def entries() -> Section:
    """The attacks of this family, by id."""
    lin, wang = "Lin 2020, arXiv 1908.06281", "Wang 2021, arXiv 2103.15571"
    return section(
        _entry(
            "MIFGSM",
            "Iterated FGSM with momentum.",
            MomentumParams,
            "Dong 2018, arXiv 1710.06081",
        ),
        _entry("NIFGSM", "MIFGSM with gradients at a point ahead.", MomentumParams, lin),
        _entry("SINIFGSM", "NIFGSM on darkened copies of the image.", ScaledParams, lin),
        _entry(
            "VMIFGSM",
            "MIFGSM with gradients tuned by their variance.",
            VarianceParams,
            wang,
            traits=DRAWN_STEPS,
        ),
        _entry(
            "VNIFGSM",
            "NIFGSM with gradients tuned by their variance.",
            VarianceParams,
            wang,
            traits=DRAWN_STEPS,
        ),
        _entry(
            "DIFGSM",
            "Iterated FGSM on randomly resized images, one draw for the whole batch.",
            DiversityParams,
            "Xie 2019, arXiv 1803.06978",
            _ONE_SHAPE,
            DRAWN_STEPS,
        ),
        _entry(
            "TIFGSM",
            "DIFGSM with smoothed gradients.",
            TranslationParams,
            "Dong 2019, arXiv 1904.02884",
            f"{_ONE_SHAPE} {_COLOUR}",
            DRAWN_STEPS,
        ),
        _entry(
            "PIFGSM",
            "Large steps whose excess goes to the neighbouring pixels.",
            PatchParams,
            "Gao 2020, arXiv 2007.06765",
            _COLOUR,
        ),
        _entry(
            "PIFGSMPP",
            "PIFGSM with smoothed gradients.",
            PatchPlusParams,
            "Gao 2020, arXiv 2012.15503",
            _COLOUR,
        ),
    )
