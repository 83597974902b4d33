"""A small post-activation ResNet for images of a few pixels (He 2016, arXiv 1512.03385)."""

from __future__ import annotations

from torch import nn

from engine.models.resnet import Block

_WIDTHS = (16, 32, 64)


def digits_resnet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Stem, three stages of one block (the later two halve the sides), average pool, linear."""
    first, second, third = _WIDTHS
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 3, padding=1, bias=False),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        Block(first, first, 1),
        Block(first, second, 2),
        Block(second, third, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(third, classes),
    )
