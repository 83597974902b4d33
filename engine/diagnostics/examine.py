"""The gate that every variant passes before it is attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from engine.compression.macs import count_macs, images_within
from engine.diagnostics.checks import check_outputs, check_view
from engine.diagnostics.gradients import gradient_health
from engine.diagnostics.repeats import Behaviour, behaviour, draw
from engine.diagnostics.secants import secant_agreement, secant_flag
from engine.diagnostics.unconstrained import (
    temperature,
    temperature_flag,
    unconstrained_flag,
    unconstrained_survivors,
)
from engine.evaluation.guard import preserved
from engine.flags import Flag

PROBED_IMAGES = 64
"""Images for what takes many gradients; fewer for large networks."""
_FEWEST, _BUDGET = 16, 1e11
"""Of these images; and the multiply-accumulates of one pass of theirs, seconds on a CPU."""

_GRADIENTS, _SECANTS, _SCALE, _BOX = 0.1, 0.2, 0.35, 0.8
"""Shares of an examination behind it when these parts begin, as measured on a digits network."""

Numbers = dict[str, float | bool | None]
Tell = Callable[[float], None]
"""Is told a share in [0, 1] that is behind; it never falls."""


def _untold(_: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class GateReport:
    """What the diagnostics found.

    Attributes:
        flags: findings; empty is good.
        numbers: the measurements behind them, ready for JSON: shares in [0, 1], cosines in
            [-1, 1]; what was not measured is missing.
    """

    flags: tuple[Flag, ...]
    numbers: Numbers


def examine(
    deployed: nn.Module,
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    parent_view: nn.Module | None = None,
    known: Behaviour | None = None,
    tell: Tell = _untold,
) -> GateReport:
    """Check outputs, accuracy, determinism, agreement and gradients of a variant on one view.

    Args:
        deployed: the deployed model.
        view: its attack view.
        images: (N, C, H, W) clean images, float32 in [0, 1], on the models' device.
        labels: (N) int64.
        parent_view: the attack view of the base model, to compare gradients with.
        known: what ``ask_again`` said of the deployed model; asked now if None.
        tell: is told how far it is.
    """
    if not len(labels):
        return GateReport((), {})
    found = known or ask_again(deployed, images)
    seen = found.draws or (found.logits,)
    with preserved(view, seed=0):
        own = [draw(view, images[: len(one)], seed) for seed, one in enumerate(seen)]
    agreement, disagrees = check_view(seen, own)
    accuracy, near = found.accuracy(labels)
    tell(_GRADIENTS)
    health = gradient_health(view, images, labels, parent_view)
    flags = (*check_outputs(found.logits), *found.flags(), *near, *disagrees, *health.flags())
    numbers: Numbers = {
        "clean_accuracy": accuracy,
        "view_agreement": agreement,
        "gradient_present": health.present,
        **found.numbers(),
    }
    if health.present:
        numbers |= {
            "gradient_finite": not health.nonfinite_fraction,
            "gradient_zero_fraction": health.zero_fraction,
            "gradient_saturated_fraction": health.saturated_fraction,
            "gradient_cosine": health.cosine,
        }
    report = GateReport(flags, numbers)
    if health.present:
        few = slice(_probed(deployed, images))
        report = _probe(report, deployed, view, images[few], labels[few], found.seeded, tell)
    tell(1.0)
    return report


def ask_again(deployed: nn.Module, images: Tensor) -> Behaviour:
    """What the deployed model says of clean images (N, C, H, W) again and again; N >= 1."""
    probed = _probed(deployed, images)
    with preserved(deployed, seed=0):
        return behaviour(deployed, images, probed)


def _probed(deployed: nn.Module, images: Tensor) -> int:
    channels, height, width = images.shape[1:]
    with preserved(deployed, seed=0):
        macs = sum(count_macs(deployed, (channels, height, width)).values())
    return min(len(images), images_within(_BUDGET, macs, _FEWEST, PROBED_IMAGES))


def _probe(
    report: GateReport,
    deployed: nn.Module,
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    seeded: bool,
    tell: Tell,
) -> GateReport:
    """Add what takes more than one gradient: secants, temperature, the unconstrained attack.

    Secants compare two points under one draw, which a model that cannot be seeded does not give.
    """
    tell(_SECANTS)
    with preserved(deployed, view, seed=0):
        agreement = secant_agreement(view, images, labels) if seeded else None
        scale = temperature(
            view, images, labels, lambda share: tell(_SCALE + share * (_BOX - _SCALE))
        )
    tell(_BOX)
    survivors = unconstrained_survivors(deployed, view, images, labels)
    found = (
        secant_flag(agreement),
        temperature_flag(scale),
        unconstrained_flag(survivors, len(labels)),
    )
    numbers = {
        "secant_agreement": agreement,
        "logit_divisor": scale.divisor,
        "temperature_eps": scale.eps,
        "temperature_broken": scale.plain / scale.total,
        "temperature_broken_rescaled": scale.rescaled / scale.total,
        "unconstrained_accuracy": survivors / len(labels),
        "probed_images": len(labels),
    }
    return GateReport(
        (*report.flags, *(flag for flag in found if flag)), {**report.numbers, **numbers}
    )
