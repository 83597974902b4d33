"""One rule tried on one method, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import CrumpleError
from engine.evaluation.guard import random_state


@dataclass(frozen=True)
class Finding:
    """What came of a rule.

    Attributes:
        method: section and id, for example ``attack mine``.
        rule: in words.
        reason: why it is broken; empty if it is kept.
    """

    method: str
    rule: str
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether the method keeps to the rule."""
        return not self.reason


Rule = tuple[str, Callable[[], str]]
"""A rule in words, and what gives the reason why it is broken, or nothing."""


def tried(method: str, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Each rule; an error breaks the rule that it came in, and after the first there is none."""
    for number, (words, attempt) in enumerate(rules):
        try:
            reason = attempt()
        except CrumpleError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  the method may fail in any way of its own
            reason = f"{type(error).__name__}: {str(error).strip() or 'no reason'}"
        yield Finding(method, words, reason)
        if reason and not number:
            return  # what does not even run keeps to nothing


def drawn(before: tuple[object, ...]) -> str:
    """Which global generator was drawn from since; empty if none was."""
    torch_state, _, numpy_state, python_state = random_state()
    names = []
    if not torch.equal(torch_state, before[0]):  # type: ignore[arg-type]
        names.append("torch's")
    old = before[2]
    if not all(np.array_equal(a, b) for a, b in zip(numpy_state, old, strict=True)):  # type: ignore[call-overload]
        names.append("numpy's")
    if python_state != before[3]:
        names.append("Python's")
    return f"it draws from {' and '.join(names)} global generator" if names else ""
