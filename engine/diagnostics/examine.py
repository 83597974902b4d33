"""The gate that every variant passes before it is attacked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from engine.attacks.guard import preserved
from engine.diagnostics.checks import check_accuracy, check_outputs, check_view, forward
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import gradient_health


@dataclass(frozen=True)
class Report:
    """What the diagnostics found.

    Attributes:
        flags: findings; empty is good.
        numbers: the measurements behind them, ready for JSON.
    """

    flags: tuple[Flag, ...]
    numbers: dict[str, float | bool | None]


def examine(
    deployed: nn.Module,
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    parent_view: nn.Module | None = None,
) -> Report:
    """Check outputs, accuracy, determinism, agreement and gradients of a variant.

    Args:
        deployed: the deployed model.
        view: its attack view.
        images: (N, C, H, W) clean images, float32 in [0, 1], on the models' device.
        labels: (N) int64.
        parent_view: the attack view of the base model, to compare gradients with.
    """
    if not len(labels):
        return Report((), {})
    with preserved(deployed, view, seed=0):
        first, second = forward(deployed, images), forward(deployed, images)
        agreement, flags = check_view(first, forward(view, images))
    health = gradient_health(view, images, labels, parent_view)
    flags = check_outputs(first, second) + check_accuracy(first, labels) + flags
    return Report(
        flags=(*flags, *health.flags()),
        numbers={
            "clean_accuracy": float((first.argmax(dim=1) == labels).float().mean()),
            "view_agreement": agreement,
            "gradient_present": health.present,
            "gradient_finite": health.finite,
            "gradient_zero_fraction": health.zero_fraction,
            "gradient_saturated_fraction": health.saturated_fraction,
            "gradient_cosine": health.cosine,
        },
    )
