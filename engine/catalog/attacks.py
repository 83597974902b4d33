"""The attacks on offer, family by family."""

from __future__ import annotations

from engine.catalog import (
    attacks_auto,
    attacks_ball,
    attacks_blackbox,
    attacks_l2,
    attacks_minimum,
    attacks_torchattacks,
)
from engine.catalog.entry import Section, section

FAMILIES = (
    attacks_ball,
    attacks_l2,
    attacks_auto,
    attacks_blackbox,
    attacks_minimum,
    attacks_torchattacks,
)


def entries() -> Section:
    """All attacks, by id."""
    return section(*(entry for family in FAMILIES for entry in family.entries().values()))
