"""Initial weights."""

from __future__ import annotations

from torch import nn


def he_normal(model: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 2 / fan_in), in place.

    He 2015, arXiv 1502.01852, equation 10. The fan-in counts the inputs of one group, so that
    depthwise convolutions keep the size of their activations too.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
