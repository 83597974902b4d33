"""The standing check of a finished attack: do other searches break what it left?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine import catalog
from engine.diagnostics.checks import SIGNIFICANCE
from engine.flags import Flag
from engine.specs.choices import AttackSpec, make_attack
from engine.statistics.intervals import holm, mcnemar_greater
from engine.statistics.run_verdict import strong_kinds

QUERIES = 1000
"""Of Square. Its first queries change most; measured, 1,000 break what 5,000 do but a few."""

TARGETS = 3
"""Of targeted APGD where nothing is in doubt. Measured on staircases, the three best rivals of an
image break what all nine do, in a third of the time, which is less than Square takes."""

SMOOTHED = frozenset({"straight-through", "averaged"})
"""Twins whose gradients are not those of the model."""


@dataclass(frozen=True)
class Rival:
    """A search that is sent after the survivors of a run.

    Attributes:
        attack: in the threat model of the run.
        wanted: it is made whatever it costs, on fewer survivors if need be; otherwise only
            where it is cheap beside the attack of the run.
        everyone: it attacks what the run broke too. A random model makes other mistakes on
            every draw, so among survivors alone every search would seem the stronger one.
        naive: it is the attack of the run in the hands of somebody who does not adapt to the
            defence (``diagnostics.naive``); it attacks every image.
    """

    attack: AttackSpec
    wanted: bool
    everyone: bool = False
    naive: bool = False

    @property
    def label(self) -> str:
        """Its attack, for people."""
        return f"naive {self.attack.label}" if self.naive else self.attack.label


@dataclass(frozen=True)
class Checked:
    """What a rival did to the survivors of a run.

    Attributes:
        name: id of its attack.
        attack: its label.
        tried: survivors that it attacked.
        broken: places in the run of those that it broke.
        reason: why it could not be made; empty if it was.
        missed: places of images that the run broke and it did not.
        everyone: it attacked what the run broke, too.
        naive: it is the naive form of the attack of the run.
        images: that it looked at, those misclassified clean included; 0 if that was not kept.
    """

    name: str
    attack: str
    tried: int
    broken: list[int]
    reason: str = ""
    missed: list[int] = field(default_factory=list)
    everyone: bool = False
    naive: bool = False
    images: int = 0

    @property
    def gradient_free(self) -> bool:
        """Whether the rival follows no gradient, so that one that is hidden does not stop it."""
        return "gradient" not in catalog.find("attacks", self.name).traits

    def to_dict(self) -> dict[str, Any]:
        """As the store keeps it."""
        return asdict(self)


def survivor_rivals(
    attack: AttackSpec, twins: Collection[str], *, doubted: bool, random: bool = False
) -> list[Rival]:
    """Who attacks the survivors of a run.

    Square needs no gradient, so nothing that hides one stops it. Targeted APGD climbs a loss
    that no rescaled or squashed logits starve; on a smooth staircase, which the gate cannot
    tell from a healthy network, and on the twin of a rounded or random model it is the stronger
    of the two (Tramer 2020, arXiv 2002.08347, has cases of both). A run that could be evidence
    meets both; one that is weak anyway meets it where it is cheap.

    Args:
        attack: of the run; what it contains itself is not repeated.
        twins: that were searched instead of the attack view.
        doubted: the gate objects to the gradients.
        random: the model is.
    """
    if not attack.norm or not attack.eps:
        return []
    contained = strong_kinds(attack.model_dump())
    shared = {"eps": attack.eps, "norm": attack.norm}
    found = []
    if "gradient-free" not in contained:
        square = make_attack({"name": "square", "n_queries": QUERIES, **shared})
        found.append(Rival(square, wanted=True, everyone=random))
    if "margin" not in contained:
        suspect = doubted or bool(SMOOTHED & set(twins))
        few = {} if suspect else {"targets": TARGETS}
        targeted = make_attack({"name": "apgd-t", **shared, **few})
        found.append(Rival(targeted, suspect or bool(contained), everyone=random))
    return found


def survivor_flags(checks: Sequence[Checked]) -> list[Flag]:
    """Danger for each rival that breaks significantly many survivors; a note on one not made.

    The run broke none of its survivors, so the exact McNemar test asks whether the rival could
    have broken so many by chance if both were equally strong: 2^-broken, times Holm's factor.
    Where it attacked everyone, what it missed counts for the run.
    """
    checks = [check for check in checks if not check.naive]
    made = [check for check in checks if not check.reason]
    adjusted = holm([_chance(check) for check in made])
    found = [_flag(check, p) for check, p in zip(made, adjusted, strict=True) if p < SIGNIFICANCE]
    return [*found, *(_not_made(check) for check in checks if check.reason)]


def _chance(check: Checked) -> float:
    more, less = len(check.broken), len(check.missed)
    return mcnemar_greater(more, less) if more > less else 1.0


def _flag(check: Checked, p: float) -> Flag:
    more, less = len(check.broken), len(check.missed)
    but = f" and misses {less} that it broke" if check.everyone else ""
    figures = (
        f"breaks {more} of {check.tried} images that this attack left{but} (McNemar exact, "
        f"p = {p:.2g})"
    )
    if check.gradient_free:
        text = (
            f"A gradient-free attack (Square, {QUERIES:,} queries) {figures}: gradients are "
            "masked, or the attack is too weak for its number to be quoted. Quote square or "
            "autoattack."
        )
        return Flag("black-box-stronger", "danger", text)
    text = (
        f"Targeted APGD {figures}: the attack is too weak for its number to be quoted. Quote "
        "apgd-t or autoattack."
    )
    return Flag("targeted-stronger", "danger", text)


def _not_made(check: Checked) -> Flag:
    text = f"{check.attack} could not be tried on the images that this attack left: {check.reason}"
    return Flag("no-survivor-check", "warning", text)
