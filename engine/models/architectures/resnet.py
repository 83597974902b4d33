"""ResNet-18 in its CIFAR form (He 2016, arXiv 1512.03385)."""

from __future__ import annotations

import torch
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool

_WIDTH = 64


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, with the last ReLU behind their sum.

    Each ReLU is a module of its own, so that a quantiser can stand behind it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        out: torch.Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class ResNet18(nn.Module):
    """A 3x3 stem without pooling and four stages of two blocks; the later three halve the sides.

    The stages have 1, 2, 4 and 8 times ``width`` channels.
    """

    def __init__(self, channels: int, classes: int, width: int = _WIDTH) -> None:
        super().__init__()
        first, second, third, fourth = (width * factor for factor in (1, 2, 4, 8))
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(Block(first, first, 1), Block(first, first, 1))
        self.layer2 = nn.Sequential(Block(first, second, 2), Block(second, second, 1))
        self.layer3 = nn.Sequential(Block(second, third, 2), Block(third, third, 1))
        self.layer4 = nn.Sequential(Block(third, fourth, 2), Block(fourth, fourth, 1))
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(fourth, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        logits: torch.Tensor = self.linear(self.pool(y).flatten(1))
        return logits


def resnet_18(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """11,173,962 parameters for 3 channels and 10 classes."""
    return ResNet18(shape[0], classes)
