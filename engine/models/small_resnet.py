"""The narrow ResNets for CIFAR (He 2016, arXiv 1512.03385, section 4.2).

Shortcuts are those of option A: where the shape changes, every second pixel, and zeros for the
channels that are new. They have no parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from engine.models.initial import he_normal
from engine.models.pool import GlobalAveragePool

_WIDTHS = (16, 32, 64)
DEPTHS = (20, 32, 44, 56, 110)


class PaddedShortcut(nn.Module):
    """Every second row and column; as many zero channels before as behind."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = (outputs - inputs) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/2, W/2)."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class NarrowBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        same = inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if same else PaddedShortcut(inputs, outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        out: torch.Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class NarrowResNet(nn.Module):
    """A 3x3 stem and three stages of (depth - 2) / 6 blocks; the later two halve the sides."""

    def __init__(self, channels: int, classes: int, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        first, second, third = _WIDTHS
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = _stage(blocks, first, first)
        self.layer2 = _stage(blocks, first, second)
        self.layer3 = _stage(blocks, second, third)
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(third, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        logits: torch.Tensor = self.linear(self.pool(y).flatten(1))
        return logits


def _stage(blocks: int, inputs: int, outputs: int) -> nn.Sequential:
    later = (NarrowBlock(outputs, outputs) for _ in range(blocks - 1))
    return nn.Sequential(NarrowBlock(inputs, outputs), *later)


def narrow_resnet(depth: int) -> Callable[[tuple[int, int, int], int], nn.Module]:
    """The builder of one depth; depth 20 has 269,722 parameters for 3 channels, 10 classes."""
    return partial(_build, depth=depth)


def _build(shape: tuple[int, int, int], classes: int, depth: int) -> nn.Module:
    return NarrowResNet(shape[0], classes, depth)
