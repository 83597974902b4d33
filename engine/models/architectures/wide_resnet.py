"""Wide ResNets for CIFAR (Zagoruyko 2016, arXiv 1605.07146).

Many published checkpoints of robust wide ResNets also hold ``sub_block1``: a second copy of the
first stage that no forward pass uses. It is left out here, so these networks have as many
parameters as take part in the result.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool
from engine.models.architectures.preact_resnet import PreActBlock


class WideResNet(nn.Module):
    """Three stages of (depth - 4) / 6 blocks with 16, 32 and 64 times ``width`` channels.

    The later two stages halve the sides.
    """

    def __init__(self, channels: int, classes: int, depth: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = _stage(blocks, 16, 16 * width, 1)
        self.block2 = _stage(blocks, 16 * width, 32 * width, 2)
        self.block3 = _stage(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.pool = GlobalAveragePool()
        self.fc = nn.Linear(64 * width, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.block3(self.block2(self.block1(self.conv1(x))))
        logits: torch.Tensor = self.fc(self.pool(self.relu(self.bn1(y))).flatten(1))
        return logits


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    later = (PreActBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(PreActBlock(inputs, outputs, stride), *later)


def wrn_28_4(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """5,849,050 parameters for 3 channels and 10 classes."""
    return WideResNet(shape[0], classes, depth=28, width=4)


def wrn_28_10(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """36,479,194 parameters for 3 channels and 10 classes."""
    return WideResNet(shape[0], classes, depth=28, width=10)


def wrn_34_10(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """46,160,474 parameters for 3 channels and 10 classes."""
    return WideResNet(shape[0], classes, depth=34, width=10)
