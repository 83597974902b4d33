"""Reading a model's outputs: predictions, losses, and whether they are logits at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from engine.attacks.losses import objectives
from engine.attacks.losses.objectives import Objective
from engine.errors import AttackError


@dataclass
class Look:
    """What one forward (and backward) says about some points, per image.

    What nobody asks for is not computed.

    Attributes:
        logits: (N, K), which nobody else writes to.
        labels: (N) int64.
        loss: (N) objective that the search climbs.
        odds: (N) ``losses.log_odds`` of the logits, if they are known already.
    """

    logits: Tensor
    labels: Tensor
    loss: Tensor
    odds: Tensor | None

    @classmethod
    def at(
        cls,
        logits: Tensor,
        labels: Tensor,
        objective: Objective = objectives.log_odds,
        goals: Tensor | None = None,
        loss: Tensor | None = None,
    ) -> Look:
        """Read the logits (N, K) of some points; the objective gets the goals, if any.

        ``loss`` (N) is the objective's value, if it is known already.
        """
        if loss is None:
            loss = objective(logits, labels if goals is None else goals)
        return cls(logits, labels, loss, loss if objective is objectives.log_odds else None)

    @cached_property
    def cross_entropy(self) -> Tensor:
        """(N), for the telemetry."""
        odds = objectives.log_odds(self.logits, self.labels) if self.odds is None else self.odds
        return objectives.cross_entropy_of(odds)

    @cached_property
    def margin(self) -> Tensor:
        """(N) the label's logit minus the largest other one."""
        return objectives.margin(self.logits, self.labels)

    @cached_property
    def wrong(self) -> Tensor:
        """(N) bool, another class than the label has the top logit, and that is finite."""
        top, index = self.logits.max(dim=1)
        return (index != self.labels) & top.isfinite()


@dataclass(frozen=True)
class Outputs:
    """Predictions of a model; where the top logit is not finite, prediction -1, confidence 0."""

    logits: Tensor
    predictions: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Outputs:
        """Read logits (N, K)."""
        return cls(logits, predict(logits))

    def __getitem__(self, lanes: Tensor) -> Outputs:
        """Those of some of the points."""
        return Outputs(self.logits[lanes], self.predictions[lanes])

    @property
    def confidence(self) -> Tensor:
        """(N) probability of the prediction."""
        return self.logits.softmax(dim=1).amax(dim=1).masked_fill(self.predictions < 0, 0.0)


def predict(logits: Tensor) -> Tensor:
    """(N) classes with the top logit, -1 where that is not finite."""
    top, index = logits.max(dim=1)  # NaN counts as largest, so NaN anywhere shows here
    return index.masked_fill(~top.isfinite(), -1)


def check_logits(logits: Tensor, labels: Tensor) -> None:
    """Refuse outputs that are no (N, K) logits, and labels outside of them."""
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise AttackError(
            f"The model gives outputs of shape {tuple(logits.shape)}, not (images, classes >= 2).",
            _way_out(logits),
        )
    classes = logits.shape[1]
    if int(labels.max()) >= classes:
        raise AttackError(
            f"Label {int(labels.max())} is too large: the model has {classes} classes.",
            "Check that model and dataset belong together.",
        )


def _way_out(outputs: Tensor) -> str:
    """The end of a forward that makes logits of outputs of this shape."""
    if outputs.dim() > 2 and outputs.shape[1] > 1:
        pixels = any(size > 1 for size in outputs.shape[2:])
        line = "outputs.mean((2, 3))" if pixels else "outputs.flatten(1)"
        return f"End its forward in: return {line}."
    if outputs.dim() == 2:
        return (
            "One output z of two classes has the logits (0, z): return torch.cat([0 * z, z], 1), "
            "with z from before a sigmoid."
        )
    return (
        "Each image needs a row: end its forward in outputs.reshape(len(images), -1); one output "
        "z of two classes has the logits (0, z)."
    )
