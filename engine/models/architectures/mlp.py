"""Chains of linear layers with ReLU between them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise

from torch import nn

from engine.errors import ModelError

_NAME = re.compile(r"mlp-\d{1,7}(?:-\d{1,6}){0,40}")


def name_of(widths: list[int]) -> str:
    """The architecture with these inputs and hidden widths, such as ``mlp-784-50-25``."""
    return "-".join(["mlp", *map(str, widths)])


def widths_of(name: str) -> list[int] | None:
    """The way back; None if it is no such name."""
    if not _NAME.fullmatch(name):
        return None
    widths = [int(one) for one in name.split("-")[1:]]
    return widths if all(widths) else None


def mlp(widths: list[int]) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """The builder of one.

    Args:
        widths: pixels of an image, channels included; then the hidden widths.
    """

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        if math.prod(shape) != widths[0]:
            raise ModelError(
                f"The network takes {widths[0]:,} numbers, but an image of "
                f"{'x'.join(map(str, shape))} has {math.prod(shape):,}."
            )
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], classes))

    return build
