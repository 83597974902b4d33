"""Small post-activation ResNets for images of a few pixels (He 2016, arXiv 1512.03385)."""

from __future__ import annotations

from torch import nn

from engine.models.architectures.resnet import Block

Shape = tuple[int, int, int]


def digits_resnet(shape: Shape, classes: int) -> nn.Module:
    """Stem, three stages of one block (the later two halve the sides), average pool, linear."""
    return _network(shape, classes, 16)


def digits_resnet_small(shape: Shape, classes: int) -> nn.Module:
    """``digits_resnet``, half as wide: about a quarter of its weights."""
    return _network(shape, classes, 8)


def digits_resnet_tiny(shape: Shape, classes: int) -> nn.Module:
    """``digits_resnet``, a quarter as wide: about a sixteenth of its weights."""
    return _network(shape, classes, 4)


def _network(shape: Shape, classes: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )
