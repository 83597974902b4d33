"""Logits of an unusual size, brought to a usual one where the cross-entropy is climbed.

The cross-entropy hangs on the scale of the logits. Where they are small, the softmax is nearly
even, and its gradient leads to the mean of all other classes instead of the strongest one;
where they are large, it is rounded to 0 and 1, and its gradient dies. Predictions do not hang
on the scale. So each image has a factor, a power of two, that brings the span of its clean
logits (largest minus smallest) near to ``USUAL``; spans between ``LEAST`` and ``MOST`` are left
as they are. Margins and their ratios need no factor. A foreign attack gets one for its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST, USUAL, MOST = 6.0, 16.0, 128.0
MEDIANS = 10.0, 64.0
"""What the median of a batch lies between that is left as it is: closer, as single images of a
network differ by more, and as the cross-entropy itself is climbed there, which saturates."""
_FURTHEST = 100.0
"""Largest exponent of a factor."""


def span(logits: Tensor) -> Tensor:
    """(N) largest minus smallest finite logit of each row (N, K); 0 where none is finite."""
    finite = logits.isfinite()
    top = logits.masked_fill(~finite, -torch.inf).amax(dim=1)
    low = logits.masked_fill(~finite, torch.inf).amin(dim=1)
    return (top - low).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def factors(spans: Tensor, least: float = LEAST, most: float = MOST) -> Tensor:
    """(N) powers of two that bring unusual spans (N) near to the usual one, 1 for the others."""
    unusual = (spans > 0) & ((spans < least) | (spans > most))
    power = (USUAL / spans).log2().round().clamp(-_FURTHEST, _FURTHEST)
    return torch.where(unusual, power.exp2(), torch.ones_like(spans))


def factor_of(logits: Tensor) -> float:
    """One factor for a batch of logits (N, K), by the median of their spans."""
    if not len(logits):
        return 1.0
    return float(factors(span(logits).median().unsqueeze(0), *MEDIANS))
