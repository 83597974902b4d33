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
        wrong: bool, another class than the label has the top logit, and that logit is finite.
    """

    loss: Tensor
    cross_entropy: Tensor
    margin: Tensor
    wrong: Tensor

    @classmethod
    def at(
        cls,
        logits: Tensor,
        labels: Tensor,
        objective: Objective = losses.log_odds,
        goals: Tensor | None = None,
        loss: Tensor | None = None,
    ) -> Look:
        """Read the logits (N, K) of some points; the objective gets the goals, if any.

        ``loss`` (N) is the objective's value, if it is known already.
        """
        if loss is None:
            loss = objective(logits, labels if goals is None else goals)
        own = objective is losses.log_odds
        odds = loss if own else losses.log_odds(logits, labels)
        predictions = predict(logits)
        wrong = (predictions != labels) & (predictions >= 0)
        return cls(loss, losses.cross_entropy_of(odds), losses.margin(logits, labels), wrong)


@dataclass(frozen=True)
class Outputs:
    """Predictions of a model; where the top logit is not finite, prediction -1, confidence 0."""

    logits: Tensor
    predictions: Tensor
    confidence: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Outputs:
        """Read logits (N, K)."""
        predictions = predict(logits)
        confidence = logits.softmax(dim=1).amax(dim=1)
        return cls(logits, predictions, confidence.masked_fill(predictions < 0, 0.0))


def predict(logits: Tensor) -> Tensor:
    """(N) classes with the top logit, -1 where that is not finite."""
    top, index = logits.max(dim=1)  # NaN counts as largest, so NaN anywhere shows here
    return index.masked_fill(~top.isfinite(), -1)


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
