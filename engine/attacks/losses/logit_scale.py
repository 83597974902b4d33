"""Logits of an unusual size, brought to a usual one where the cross-entropy is climbed.

The cross-entropy hangs on the scale of the logits. Where they are small, the softmax is nearly
even, and its gradient leads to the mean of all other classes instead of the strongest one;
where they are large, it is rounded to 0 and 1, and the gradient of the plain cross-entropy dies.
Predictions do not hang on the scale. So each image whose clean logits span less than ``LEAST``
(largest minus smallest) has a factor, a power of two, that brings the span near to ``USUAL``.
The log-odds that are climbed here do not saturate, so larger spans are left as they are; so are
margins and their ratios, which need no factor. A foreign attack, whose cross-entropy saturates,
gets a factor for its batch, for spans that are too large, too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST, USUAL = 6.0, 16.0
MEDIANS = 10.0, 64.0
"""What the median of a batch lies between that is left as it is: closer, as single images of a
network differ by more, and as the cross-entropy itself is climbed there, which saturates."""
_SATURATED = 16.6
"""Margin, 24 bits, from which on the probability of a class is 1 in float32."""
_FURTHEST = 100.0
"""Largest exponent of a factor."""


def span(logits: Tensor) -> Tensor:
    """(N) largest minus smallest finite logit of each row (N, K); 0 where none is finite."""
    finite = logits.isfinite()
    top = logits.masked_fill(~finite, -torch.inf).amax(dim=1)
    low = logits.masked_fill(~finite, torch.inf).amin(dim=1)
    return (top - low).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def factors(spans: Tensor, least: float = LEAST, most: float = torch.inf) -> Tensor:
    """(N) powers of two that bring unusual spans (N) near to the usual one, 1 for the others."""
    unusual = (spans > 0) & ((spans < least) | (spans > most))
    power = (USUAL / spans).log2().round().clamp(-_FURTHEST, _FURTHEST)
    return torch.where(unusual, power.exp2(), torch.ones_like(spans))


def factor_of(logits: Tensor) -> float:
    """One factor for a batch of logits (N, K), by the median of their spans.

    One above 1 is held back where it would lead the surest image to where the softmax of
    float32 is 1: what is usual for most must not take the gradient from the others.
    """
    if not len(logits):
        return 1.0
    factor = float(factors(span(logits).median().unsqueeze(0), *MEDIANS))
    first, second = logits.nan_to_num(neginf=0.0, posinf=0.0).topk(2, dim=1).values.unbind(1)
    surest = float((first - second).amax())
    if factor <= 1 or not surest:
        return factor
    return min(factor, max(1.0, 2.0 ** math.floor(math.log2(_SATURATED / surest))))
