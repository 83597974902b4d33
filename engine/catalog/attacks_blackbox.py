"""Attacks without gradients, and AutoAttack, which ends with one."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.catalog.attacks_ball import EpsParams
from engine.catalog.entry import Entry, Number, Section, format_number, section


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


class SquareParams(NormParams):
    """Parameters of the Square attack."""

    n_queries: int = Field(
        5000, ge=1, le=1_000_000, title="queries", description="Forward passes per image at most."
    )
    p_init: Number = Field(
        0.8,
        gt=0,
        le=1,
        title="initial share",
        description="Share of the pixels that the first windows cover.",
    )


class AutoAttackParams(NormParams):
    """Parameters of AutoAttack; its parts have none of their own."""


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        Entry(
            id="square",
            title="Square",
            family="gradient-free",
            summary="Random search with square windows on the deployed model; no gradients.",
            paper="Andriushchenko 2020, arXiv 1912.00049",
            params=SquareParams,
            norm="Linf",
        ),
        Entry(
            id="autoattack",
            title="AutoAttack",
            family="ensemble",
            summary="apgd-ce, apgd-t, fab-t and square in a row, each on what survived before.",
            paper="Croce 2020, arXiv 2003.01690",
            params=AutoAttackParams,
            norm="Linf",
        ),
    )
