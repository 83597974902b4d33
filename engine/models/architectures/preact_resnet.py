"""ResNet-18 with pre-activation in its CIFAR form (He 2016, arXiv 1603.05027)."""

from __future__ import annotations

import torch
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool

_WIDTHS = (64, 128, 256, 512)


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions, beside a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        active = self.relu1(self.bn1(x))
        skipped = x if self.shortcut is None else self.shortcut(active)
        out: torch.Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active)))) + skipped
        return out


class PreActResNet18(nn.Module):
    """A 3x3 stem, four stages of two blocks (the later three halve the sides), BatchNorm, ReLU."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third, fourth = _WIDTHS
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.layer1 = nn.Sequential(PreActBlock(first, first, 1), PreActBlock(first, first, 1))
        self.layer2 = nn.Sequential(PreActBlock(first, second, 2), PreActBlock(second, second, 1))
        self.layer3 = nn.Sequential(PreActBlock(second, third, 2), PreActBlock(third, third, 1))
        self.layer4 = nn.Sequential(PreActBlock(third, fourth, 2), PreActBlock(fourth, fourth, 1))
        self.bn = nn.BatchNorm2d(fourth)
        self.relu = nn.ReLU()
        self.pool = GlobalAveragePool()
        self.linear = nn.Linear(fourth, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        logits: torch.Tensor = self.linear(self.pool(self.relu(self.bn(y))).flatten(1))
        return logits


def preact_resnet_18(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """11,172,170 parameters for 3 channels and 10 classes."""
    return PreActResNet18(shape[0], classes)
