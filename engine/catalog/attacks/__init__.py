"""The attacks on offer, family by family."""

from __future__ import annotations

from engine.catalog.attacks import auto, ball, gradient_free, l2, minimum, torchattacks
from engine.catalog.entry import Section, section

FAMILIES = (
    ball,
    l2,
    auto,
    gradient_free,
    minimum,
    torchattacks,
)


def entries() -> Section:
    """All attacks, by id."""
    return section(*(entry for family in FAMILIES for entry in family.entries().values()))
