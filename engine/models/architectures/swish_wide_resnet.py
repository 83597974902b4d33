"""Wide ResNets with Swish (Gowal 2020, arXiv 2010.03593), as published by DeepMind.

Beside Zagoruyko 2016: the convolutions of stride 2 pad below and on the right only, and Swish
(``SiLU``) stands for ReLU. The modules have the names of the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from engine.models.architectures.initial import he_normal
from engine.models.architectures.pool import GlobalAveragePool


class SwishBlock(nn.Module):
    """BatchNorm and Swish before each of two 3x3 convolutions, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.act_0 = nn.SiLU()
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.act_1 = nn.SiLU()
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        active = self.act_0(self.batchnorm_0(x))
        skipped = x if self.shortcut is None else self.shortcut(active)
        y = self.conv_0(F.pad(active, self.padding))
        out: torch.Tensor = skipped + self.conv_1(self.act_1(self.batchnorm_1(y)))
        return out


class SwishStage(nn.Module):
    """Blocks in a row; the first one changes the shape."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        later = (SwishBlock(outputs, outputs, 1) for _ in range(blocks - 1))
        self.block = nn.Sequential(SwishBlock(inputs, outputs, stride), *later)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        out: torch.Tensor = self.block(x)
        return out


class SwishWideResNet(nn.Module):
    """A 3x3 stem, three stages of (depth - 4) / 6 blocks, BatchNorm, Swish, pool, linear."""

    def __init__(self, channels: int, classes: int, depth: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.init_conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.layer = nn.Sequential(
            SwishStage(blocks, 16, 16 * width, 1),
            SwishStage(blocks, 16 * width, 32 * width, 2),
            SwishStage(blocks, 32 * width, 64 * width, 2),
        )
        self.batchnorm = nn.BatchNorm2d(64 * width)
        self.act = nn.SiLU()
        self.pool = GlobalAveragePool()
        self.logits = nn.Linear(64 * width, classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        y = self.act(self.batchnorm(self.layer(self.init_conv(x))))
        logits: torch.Tensor = self.logits(self.pool(y).flatten(1))
        return logits
