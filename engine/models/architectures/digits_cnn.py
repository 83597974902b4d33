"""A plain convolutional network for images of a few pixels."""

from __future__ import annotations

from torch import nn

_WIDTHS = (16, 32, 32)


def digits_cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Three 3x3 convolutions with BatchNorm (the later two halve the sides), pool, linear."""
    layers: list[nn.Module] = []
    inputs = shape[0]
    for place, outputs in enumerate(_WIDTHS):
        stride = 2 if place else 1
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
