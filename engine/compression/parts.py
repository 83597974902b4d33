"""What steps hang on a model: masks and quantisers, and how a file names them.

A part that acts on a weight is a parametrization; one that acts on activations stands behind
a module. Each kind describes itself in JSON, so that a stored variant can hang it up again.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn


class Part(nn.Module):
    """Base of all parts.

    Attributes:
        kind: names the class in files; unique.
    """

    kind: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """What its constructor needs beside tensors, for JSON."""
        return {}


class WeightPart(Part):
    """A part on a weight: the weight in, what acts in its place out."""

    @classmethod
    def blank(cls, weight: torch.Tensor, options: dict[str, Any]) -> WeightPart:
        """One of the right form for a weight; its tensors are loaded afterwards."""
        raise NotImplementedError


class WeightQuantiser(WeightPart):
    """A weight part that leaves few levels.

    Attributes:
        bits: of a code.
    """

    bits: int

    @property
    def numbers(self) -> int:
        """fp32 numbers that must be stored to decode the codes (scales)."""
        raise NotImplementedError

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """The integer code of each value of a quantised weight, as floats; at most 2^bits."""
        raise NotImplementedError


class ActivationQuantiser(Part):
    """A part behind a module that leaves few levels.

    Attributes:
        bits: of a code.
    """

    bits: int

    @classmethod
    def blank(cls, options: dict[str, Any]) -> ActivationQuantiser:
        """One of the right form; its tensors are loaded afterwards."""
        raise NotImplementedError
