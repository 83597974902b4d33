"""Attacks of torchattacks without a ball: close examples in L2, L1 or L0."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from engine.catalog.attacks.torchattacks.base import kappa, library_entry
from engine.catalog.entry import Entry, Number, Params, Section, Trait, format_number, section


def span_ends(span: str) -> tuple[int, int]:
    """The numbers of a span such as ``2-10``, as the library takes them."""
    low, high = span.split("-")
    return int(low), int(high)


def _ordered(span: str) -> str:
    low, high = span_ends(span)
    if low > high:
        raise ValueError("must begin with the smaller number, as in 2-10")
    return span


Span = Annotated[str, AfterValidator(_ordered)]
"""Two whole numbers from 1; as text, because a list in a study file is a sweep."""


class CwParams(Params):
    """Parameters of ``CW``."""

    c: Number = Field(1.0, ge=0, le=1e6, title="c", description="Weight of the margin, fixed.")
    kappa: Number = kappa()
    steps: int = Field(50, ge=1, le=100_000, title="steps", description="Steps of Adam.")
    lr: Number = Field(0.01, gt=0, le=10, title="lr", description="Step size, in tanh space.")

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} c{format_number(self.c)}"


class DeepFoolParams(Params):
    """Parameters of ``DeepFool``."""

    steps: int = Field(50, ge=1, le=10_000, title="steps", description="Steps per image at most.")
    overshoot: Number = Field(
        0.02, ge=0, le=10, title="overshoot", description="Share added to every step."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps}"


class EadParams(Params):
    """Parameters of ``EADL1`` and ``EADEN``."""

    kappa: Number = kappa()
    lr: Number = Field(0.01, gt=0, le=10, title="lr", description="First step size.")
    binary_search_steps: int = Field(
        9, ge=1, le=30, title="binary search steps", description="Weights c tried per image."
    )
    max_iterations: int = Field(
        100,
        ge=10,
        le=100_000,
        title="max iterations",
        description="Steps for each weight; the library divides by zero below 10.",
    )
    abort_early: bool = Field(
        True,
        title="abort early",
        description="End a round once the loss of the whole batch stalls.",
    )
    initial_const: Number = Field(
        1e-3, gt=0, le=1e6, title="initial const", description="First weight of the margin."
    )
    beta: Number = Field(
        1e-3, ge=0, le=1, title="beta", description="Weight of L1, and threshold of shrinking."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.binary_search_steps}x{self.max_iterations}"


class SparseFoolParams(Params):
    """Parameters of ``SparseFool``."""

    steps: int = Field(10, ge=1, le=10_000, title="steps", description="Steps per image at most.")
    lam: Number = Field(
        3.0, gt=0, le=1000, title="lam", description="How far beyond the boundary to aim."
    )
    overshoot: Number = Field(
        0.02, ge=0, le=10, title="overshoot", description="Share added to every step."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps}"


class OnePixelParams(Params):
    """Parameters of ``OnePixel``."""

    pixels: int = Field(1, ge=1, le=1000, title="pixels", description="Pixels changed at most.")
    steps: int = Field(10, ge=1, le=10_000, title="steps", description="Generations.")
    popsize: int = Field(
        10, ge=1, le=100_000, title="popsize", description="Candidates; never below 5."
    )
    inf_batch: int = Field(
        128, ge=1, le=100_000, title="inf batch", description="Images per forward at most."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} {self.pixels}px"


def _side(axis: str) -> str:
    side: str = Field(
        "2-10",
        pattern=r"^[1-9]\d{0,3}-[1-9]\d{0,3}$",
        title=f"{axis} dimensions",
        description=f"Least and largest size of a patch along {axis} in pixels, as 2-10.",
    )
    return side


class PixleParams(Params):
    """Parameters of ``Pixle``."""

    x_dimensions: Span = _side("x")
    y_dimensions: Span = _side("y")
    pixel_mapping: Literal[
        "random", "similarity", "similarity_random", "distance", "distance_random"
    ] = Field("random", title="pixel mapping", description="Where the pixels of a patch go.")
    restarts: int = Field(
        20, ge=0, le=10_000, title="restarts", description="Patches moved one after the other."
    )
    max_iterations: int = Field(
        10, ge=1, le=10_000, title="max iterations", description="Places tried for each patch."
    )
    update_each_iteration: bool = Field(
        False,
        title="update each iteration",
        description="Keep every improvement at once; then there are no restarts.",
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.restarts}x{self.max_iterations} {self.pixel_mapping}"


class JsmaParams(Params):
    """Parameters of ``JSMA``."""

    theta: Number = Field(
        1.0, ge=-1, le=1, title="theta", description="Added to a pixel; negative darkens."
    )
    gamma: Number = Field(
        0.1, gt=0, le=1, title="gamma", description="Share of the pixels changed at most."
    )

    def label(self, title: str) -> str:
        return f"{title} {format_number(self.theta)} {format_number(self.gamma)}"


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(*_euclidean(), *_sparse())


def _euclidean() -> tuple[Entry, ...]:
    return (
        library_entry(
            "CW",
            "minimum norm, L2",
            "Carlini-Wagner with one fixed c, whose result depends on the rest of the batch, and "
            "which cannot move pixels at 0 or 1 nor handle negative logits; use cw-l2.",
            "Carlini 2017, arXiv 1608.04644",
            CwParams,
            "L2",
            traits=("gradient", "no limit", "keeps best"),
        ),
        library_entry(
            "DeepFool",
            "minimum norm, L2",
            "Steps to the closest linearised boundary over all classes, image by image; slow, NaN "
            "where the gradient is zero, and it ends so close to the boundary that rounding "
            "decides; use deepfool.",
            "Moosavi-Dezfooli 2016, arXiv 1511.04599",
            DeepFoolParams,
            "L2",
            traits=("gradient", "no limit", "one by one"),
        ),
        library_entry(
            "EADEN",
            "minimum norm, L2",
            "Elastic net: closest in L2 plus beta L1; stops by the loss of the whole batch.",
            "Chen 2018, arXiv 1709.04114",
            EadParams,
            "L2",
            traits=("gradient", "no limit"),
        ),
    )


def _sparse() -> tuple[Entry, ...]:
    def entry(
        name: str,
        summary: str,
        paper: str,
        params: type[Params],
        limits: str = "",
        *,
        traits: tuple[Trait, ...],
    ) -> Entry:
        family = "sparse, no ball"
        return library_entry(name, family, summary, paper, params, "", limits, traits=traits)

    return (
        entry(
            "EADL1",
            "Elastic net: closest example in L1; stops by the loss of the whole batch.",
            "Chen 2018, arXiv 1709.04114",
            EadParams,
            traits=("gradient", "no limit"),
        ),
        entry(
            "SparseFool",
            "DeepFool with few pixels, image by image; NaN where the gradient is zero.",
            "Modas 2019, arXiv 1811.02248",
            SparseFoolParams,
            traits=("gradient", "no limit", "one by one"),
        ),
        entry(
            "OnePixel",
            "Sets few pixels by differential evolution, image by image; its default search is "
            "small and weak.",
            "Su 2019, arXiv 1710.08864",
            OnePixelParams,
            traits=("seeded", "one by one"),
        ),
        entry(
            "Pixle",
            "Moves pixels within the image by random search, image by image.",
            "Pomponi 2022, arXiv 2202.02236",
            PixleParams,
            "Square images.",
            traits=("seeded", "one by one"),
        ),
        entry(
            "JSMA",
            "Sets pixels in pairs by a saliency map, always towards the class after the label.",
            "Papernot 2016, arXiv 1511.07528",
            JsmaParams,
            "10 classes or more, images of at most 4,096 values.",
            traits=("gradient", "one by one"),
        ),
    )
