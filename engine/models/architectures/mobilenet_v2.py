"""MobileNetV2 (Sandler 2018, arXiv 1801.04381) in the form that is usual for CIFAR.

Beside the paper: the stem and the second stage keep the sides (32x32 ends at 4x4), ReLU stands
for ReLU6, the first stage has its expansion too, and blocks of stride 1 that change the number
of channels have a projecting shortcut.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool

_STEM, _HEAD = 32, 1280
_STAGES = (
    # expansion, channels, blocks, stride of the first block
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter by a depthwise 3x3, project by a linear 1x1 convolution.

    A shortcut stands beside them where the sides stay.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.conv1 = nn.Conv2d(inputs, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module | None = nn.Identity() if stride == 1 else None
        if stride == 1 and inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: torch.Tensor = y if self.shortcut is None else y + self.shortcut(x)
        return out


class MobileNetV2(nn.Module):
    """A 3x3 stem, 17 inverted residuals in seven stages, a 1x1 head, average pool, linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _STEM, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        self.relu1 = nn.ReLU()
        blocks, inputs = [], _STEM
        for expansion, outputs, count, stride in _STAGES:
            for number in range(count):
                blocks.append(
                    InvertedResidual(inputs, outputs, expansion, stride if number == 0 else 1)
                )
                inputs = outputs
        self.layers = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(inputs, _HEAD, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_HEAD)
        self.relu2 = nn.ReLU()
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(_HEAD, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.layers(self.relu1(self.bn1(self.conv1(x))))
        y = self.relu2(self.bn2(self.conv2(y)))
        logits: torch.Tensor = self.linear(self.pool(y).flatten(1))
        return logits


def mobilenet_v2(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """2,296,922 parameters for 3 channels and 10 classes."""
    return MobileNetV2(shape[0], classes)
