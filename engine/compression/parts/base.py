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

    def settle(self) -> None:
        """Bring what the last gradient step moved back to where it may be."""


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
        lowest: the smallest code.
        scale: one fp32 number, or one for each output channel; > 0.
    """

    bits: int
    lowest: int
    scale: torch.Tensor

    @property
    def numbers(self) -> int:
        """fp32 numbers that must be stored to decode the codes (scales)."""
        return self.scale.numel()

    def follow(self, weight: torch.Tensor) -> None:
        """Take from the trained weight below what the levels depend on; after each step."""

    def codes(self, weight: torch.Tensor) -> torch.Tensor:
        """The code of each value of a quantised weight, as floats.

        Integers from ``lowest`` to ``lowest + 2^bits - 1``.
        """
        return torch.round(weight / self.scale.detach().to(weight.device))

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The quantised weight that has these codes, bit by bit."""
        return codes * self.scale.detach()


class BoundedQuantiser(WeightQuantiser):
    """One whose weight below, the one that is trained, must stay within [-bound, bound].

    Attributes:
        bound: the limit.
        lr_factor: of its learning rate.
    """

    bound: float
    lr_factor: float


class ActivationPart(Part):
    """A part behind a module, or in its place.

    Attributes:
        replaces: whether the module goes.
    """

    replaces: ClassVar[bool] = False

    @classmethod
    def blank(cls, options: dict[str, Any]) -> ActivationPart:
        """One of the right form; its tensors are loaded afterwards."""
        raise NotImplementedError


class FrontPart(Part):
    """A part in front of the network, which images pass first; it ships with the network.

    Its values are those that ship, bit by bit. Its gradient is the one that an attacker takes who
    knows of it (backward pass differentiable approximation, Athalye 2018, arXiv 1802.00420), in
    training, in the deployed model and in the attack view alike.

    Attributes:
        searched: how it is searched, as a sentence for a flag; empty if by its own gradient.
    """

    searched: ClassVar[str] = ""

    @classmethod
    def blank(cls, options: dict[str, Any]) -> FrontPart:
        """One of the right form; its tensors are loaded afterwards."""
        raise NotImplementedError

    def naive(self) -> nn.Module:
        """What stands in its place where somebody searches who does not adapt to it."""
        raise NotImplementedError


class ActivationQuantiser(ActivationPart):
    """A part behind a module that leaves few levels.

    Attributes:
        bits: of a code.
    """

    bits: int
