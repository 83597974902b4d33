"""What an attack climbs, per image, from logits (N, K) and labels (N)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-odds of a mistake, logsumexp of the other logits minus the label's logit.

    The cross-entropy is softplus of this, so both have the same gradient up to a positive
    factor per image; but where the cross-entropy saturates (probability 1.0 in float32) and
    its gradient dies, this one stays.
    """
    true, others = _split(logits, labels)
    return torch.logsumexp(others, dim=1) - true


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit minus the largest other one; negative means misclassified."""
    true, others = _split(logits, labels)
    return true - others.amax(dim=1)


def cross_entropy_of(odds: Tensor) -> Tensor:
    """Cross-entropy from ``log_odds``."""
    return torch.nn.functional.softplus(odds)


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    column = labels.unsqueeze(1)
    return logits.gather(1, column).squeeze(1), logits.scatter(1, column, -torch.inf)
