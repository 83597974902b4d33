"""The standing gradient-free check: does Square break more than the white-box attack did?"""

from __future__ import annotations

from torch import Tensor, nn

from engine.attacks import run_attack
from engine.diagnostics.duel import Duel
from engine.diagnostics.flags import Flag
from engine.events import ShouldStop
from engine.specs import AttackSpec, make_attack

QUERIES = 300
"""Enough to beat an attack without gradients, few beside the cost of the attack itself."""

_CONTAIN_IT = ("square", "autoattack")


def black_box_rival(attack: AttackSpec) -> AttackSpec | None:
    """Square in the threat model of an attack; None if it has none or contains Square."""
    if attack.name in _CONTAIN_IT or not attack.norm or not attack.eps:
        return None
    return make_attack(
        {"name": "square", "eps": attack.eps, "norm": attack.norm, "n_queries": QUERIES}
    )


def black_box_broken(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    rival: AttackSpec,
    seed: int,
    should_stop: ShouldStop | None = None,
) -> Tensor:
    """Which images the rival breaks, (N) bool, clean mistakes included."""
    return run_attack(model, images, labels, rival, seed=seed, should_stop=should_stop).broken


def black_box_flag(duel: Duel) -> Flag | None:
    """Danger if the gradient-free attack is significantly stronger."""
    if not duel.lost:
        return None
    text = (
        f"A gradient-free attack (Square, {QUERIES} queries) breaks {duel.figures}: gradients are "
        "masked, or the white-box attack is too weak for its number to be quoted. Quote square "
        "or autoattack."
    )
    return Flag("black-box-stronger", "danger", text)
