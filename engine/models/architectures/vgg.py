"""VGG-16 with BatchNorm for CIFAR, as in Hydra (Sehwag 2020, arXiv 2002.10509).

Beside Simonyan & Zisserman 2015 (arXiv 1409.1556): no bias in the convolutions, no pool behind
the last of them, and three linear layers of 256 units at most.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.models.architectures.initial import he_normal

_PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
"""Channels of the convolutions; 0 is a pool."""

_HIDDEN = 256


class Vgg16(nn.Module):
    """13 convolutions of 3x3 in five stages, three linear layers."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in _PLAN:
            if width:
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            else:
                # Sides that halve evenly are not changed by the mode; 8x8 would end at nothing.
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(2)  # leaves the 2x2 that 32x32 ends at as they are
        self.classifier = nn.Sequential(
            nn.Linear(4 * channels, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, classes),
        )
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, H, W) to (N, classes) logits."""
        logits: torch.Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits


def vgg_16_bn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """15,311,818 parameters for 3 channels and 10 classes."""
    return Vgg16(shape[0], classes)
