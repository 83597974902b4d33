"""The accuracy that a checkpoint states of itself, beside the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

_DEEPEST = 4
_WHOSE = r"(?:best|max|final|last|val|valid|validation|test|eval|clean|nat|natural|std|standard)*"
_RIGHT = re.compile(rf"{_WHOSE}(?:(?:acc|accuracy|prec|precision|top|sa)+(?:at)?1?|top1(?:acc)?)")
_WRONG = re.compile(rf"{_WHOSE}(?:err|error|top1err|err1|error1|top1error)")
"""Names without what joins their words. Those of other measures do not match: ``train_acc``,
``top5``, ``best_ra``, ``test_pgd10_acc``, ``adv_acc``, ``loss``."""


@dataclass(frozen=True)
class Statement:
    """One number of the file.

    Attributes:
        name: as it stands there.
        value: likewise.
        readings: the shares of correct images that it may mean.
    """

    name: str
    value: float
    readings: tuple[float, ...]

    def words(self) -> str:
        """For a sentence."""
        return f"{self.name} {self.value:.6g}"


Stated = tuple[Statement, ...]


def stated_accuracy(tree: Any) -> Stated:
    """All accuracies that stand beside the weights, nested ones too."""
    return tuple(_search(tree, 0))


def _search(tree: Any, depth: int) -> Iterator[Statement]:
    if not isinstance(tree, Mapping) or depth > _DEEPEST:
        return
    for key, value in tree.items():
        number = plain_number(value)
        if number is None:
            yield from _search(value, depth + 1)
        elif isinstance(key, str) and (readings := _readings(key, number)):
            yield Statement(key, number, readings)


def plain_number(value: Any) -> float | None:
    """A number, also as a tensor or a NumPy scalar; None if it is none."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        value = value.item()
    if hasattr(value, "item") and not isinstance(value, torch.Tensor):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _readings(key: str, value: float) -> tuple[float, ...]:
    name = re.sub(r"[^a-z0-9]", "", key.lower())
    if not 0 < value <= 100:
        return ()
    if _RIGHT.fullmatch(name):  # nobody publishes an accuracy of one per cent
        return (value if value <= 1 else value / 100,)
    if _WRONG.fullmatch(name):
        return (1 - value, 1 - value / 100) if value <= 1 else (1 - value / 100,)
    return ()


def agree(stated: Stated, low: float, high: float) -> bool:
    """Whether one of them lies in an interval of shares, rounded as people write them."""
    slack = 5e-4
    return any(low - slack <= reading <= high + slack for one in stated for reading in one.readings)


def nearest(stated: Stated, share: float) -> Statement:
    """The one that comes nearest to a share; of several epochs only one is that of the weights."""
    return min(stated, key=lambda one: min(abs(reading - share) for reading in one.readings))
