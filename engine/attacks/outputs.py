"""Reading a model's outputs: predictions, losses, and whether they are logits at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.attacks import losses
from engine.attacks.losses import Objective
from engine.errors import AttackError


@dataclass
class Look:
    """What one forward (and backward) says about some points, per image.

    Attributes:
        loss: objective that the search climbs.
        cross_entropy: for the telemetry.
        margin: the label's logit minus the largest other one.
        gradient: of the objective with respect to the points; None without a backward.
    """

    loss: Tensor
    cross_entropy: Tensor
    margin: Tensor
    gradient: Tensor | None = None

    @classmethod
    def at(cls, logits: Tensor, labels: Tensor, objective: Objective = losses.log_odds) -> Look:
        """Read the logits (N, K) of some points."""
        odds = losses.log_odds(logits, labels)
        loss = odds if objective is losses.log_odds else objective(logits, labels)
        return cls(loss, losses.cross_entropy_of(odds), losses.margin(logits, labels))


@dataclass(frozen=True)
class Outputs:
    """Predictions of a model; where the top logit is not finite, prediction -1, confidence 0."""

    logits: Tensor
    predictions: Tensor
    confidence: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Outputs:
        """Read logits (N, K)."""
        top, index = logits.max(dim=1)  # NaN counts as largest, so NaN anywhere shows here
        usable = top.isfinite()
        confidence = logits.softmax(dim=1).amax(dim=1)
        return cls(logits, index.masked_fill(~usable, -1), confidence.masked_fill(~usable, 0.0))


def check_logits(logits: Any, labels: Tensor) -> None:
    """Refuse outputs that are no (N, K) logits, and labels outside of them."""
    if not isinstance(logits, Tensor):
        raise AttackError(f"The model returns {type(logits).__name__}, not a tensor of logits.")
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise AttackError(
            f"The model gives outputs of shape {tuple(logits.shape)}, not (images, classes >= 2)."
        )
    classes = logits.shape[1]
    if int(labels.max()) >= classes:
        raise AttackError(
            f"Label {int(labels.max())} is too large: the model has {classes} classes.",
            "Check that model and dataset belong together.",
        )


def finite_mean(values: Tensor) -> float:
    """Mean of the finite values, 0 if there are none."""
    finite = values[values.isfinite()]
    return float(finite.double().mean()) if len(finite) else 0.0
