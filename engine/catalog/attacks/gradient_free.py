"""Attacks without gradients, and AutoAttack, which ends with one."""

from __future__ import annotations

from pydantic import Field

from engine.catalog.attacks.ball import NormParams
from engine.catalog.entry import AttackEntry, Number, Section, section


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


PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks that AutoAttack makes one after the other."""


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        AttackEntry(
            id="square",
            title="Square",
            family="gradient-free",
            summary="Random search with square windows on the deployed model; no gradients.",
            paper="Andriushchenko 2020, arXiv 1912.00049",
            formula="x' = x with one square window of a share p of the pixels moved to x ± ε per "
            "channel (Linf), kept if the margin z_y - max_k≠y z_k falls; p is halved as queries "
            "go on",
            params=SquareParams,
            norm="Linf",
            traits=frozenset({"seeded", "keeps best", "fp32"}),
            kinds=frozenset({"gradient-free"}),
        ),
        AttackEntry(
            id="autoattack",
            title="AutoAttack",
            family="ensemble",
            summary="apgd-ce, apgd-t, fab-t and square in a row, each on what survived before.",
            paper="Croce 2020, arXiv 2003.01690",
            formula="the union of what apgd-ce, apgd-t, fab-t and square break",
            params=AutoAttackParams,
            norm="Linf",
            traits=frozenset({"gradient", "seeded", "keeps best"}),
            kinds=frozenset({"cross-entropy", "margin", "closest", "gradient-free"}),
            parts=PARTS,
        ),
    )
