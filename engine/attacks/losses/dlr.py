"""Difference-of-logits-ratio losses (Croce 2020, arXiv 2003.01690, eq. 6 and 7).

They do not change when the logits are scaled or shifted, so that sharp logits cannot starve
the gradient. Where a logit that sets the scale is -inf, because the model masks classes out,
the scale is 1. Goals are the labels (N), or labels and targets (N, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.losses import objectives
from engine.attacks.losses.objectives import Objective
from engine.attacks.search.notes import Note
from engine.attacks.search.search import Search

_TINY = 1e-12
_MIN_CLASSES, _MIN_CLASSES_TARGETED = 3, 4


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the label's, over the first minus the third largest.

    Where the label's logit is itself the third largest, this is 1 whatever the image, and its
    gradient is exactly 0. There the scale is held constant, which leaves the value and gives
    the direction of the margin.
    """
    top = logits.topk(3, dim=1).values
    scale = _scale(top[:, 0] - top[:, 2])
    third = logits.detach().argsort(dim=1, descending=True)[:, 2] == labels
    return -objectives.margin(logits, labels) / torch.where(third, scale.detach(), scale)


def difference(logits: Tensor, goals: Tensor) -> Tensor:
    """Logit of the target minus that of the label."""
    pair = logits.gather(1, goals)
    return pair[:, 1] - pair[:, 0]


def targeted_dlr(logits: Tensor, goals: Tensor) -> Tensor:
    """``difference`` over the largest logit minus the mean of the third and fourth."""
    top = logits.topk(4, dim=1).values
    return difference(logits, goals) / _scale(top[:, 0] - top[:, 2:].mean(dim=1))


def _scale(spread: Tensor) -> Tensor:
    return torch.where(spread.isposinf(), 1.0, spread + _TINY)


def dlr_for(search: Search) -> Objective:
    """``dlr``; the log-odds, which are the margin of two classes, where there is no third."""
    if search.clean.logits.shape[1] >= _MIN_CLASSES:
        return dlr
    _note(search, Note("two-classes"))
    return objectives.log_odds


def targeted_dlr_for(search: Search) -> Objective:
    """``targeted_dlr``; ``difference`` for fewer than four classes."""
    classes = search.clean.logits.shape[1]
    if classes >= _MIN_CLASSES_TARGETED:
        return targeted_dlr
    _note(search, Note("few-classes", words=str(classes)))
    return difference


def goals_by_rank(search: Search, targets: int) -> Tensor:
    """(N, T, 2) labels and targets, T at most ``targets`` and the number of other classes.

    The targets of an image are its classes by their logit on the clean image, the largest
    first and the label left out; in place of a class that is masked out, the first once more.
    """
    logits, labels = search.clean.logits, search.labels
    others = logits.shape[1] - 1
    if targets > others:
        words = f"{targets} targets were asked for, but there are only {others}"
        _note(search, Note("few-targets", words=words))
    rivals = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    ranked = rivals.argsort(dim=1, descending=True, stable=True)[:, : min(targets, others)]
    masked = rivals.gather(1, ranked).isneginf()
    ranked = torch.where(masked, ranked[:, :1], ranked)
    return torch.stack([labels.unsqueeze(1).expand_as(ranked), ranked], dim=2)


def _note(search: Search, note: Note) -> None:
    if note not in search.notes:  # a search in bf16 passes here a second time
        search.notes.append(note)
