"""Activations that a chain may have; a state dict holds none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Activation:
    """One of them.

    Attributes:
        label: in words.
        make: a module without tensors.
        cost: how unusual it is in a network whose author says nothing of it.
        rises: it never falls, so that it may trade places with a maximum.
    """

    label: str
    make: Callable[[], nn.Module]
    cost: float
    rises: bool = True


RELU, NONE, PRELU = "relu", "none", "prelu"

ACTIVATIONS: dict[str, Activation] = {
    RELU: Activation("ReLU", nn.ReLU, 0.0),
    "tanh": Activation("tanh", nn.Tanh, 2.0),
    "leaky-0.01": Activation("LeakyReLU 0.01", nn.LeakyReLU, 2.0),
    "sigmoid": Activation("sigmoid", nn.Sigmoid, 2.5),
    "elu": Activation("ELU", nn.ELU, 2.5),
    "leaky-0.1": Activation("LeakyReLU 0.1", lambda: nn.LeakyReLU(0.1), 3.0),
    "leaky-0.2": Activation("LeakyReLU 0.2", lambda: nn.LeakyReLU(0.2), 3.0),
    "gelu": Activation("GELU", nn.GELU, 3.0, rises=False),
    "silu": Activation("SiLU", nn.SiLU, 3.0, rises=False),
    "relu6": Activation("ReLU6", nn.ReLU6, 3.0),
    "selu": Activation("SELU", nn.SELU, 3.5),
    "softplus": Activation("softplus", nn.Softplus, 4.0),
    "mish": Activation("Mish", nn.Mish, 4.0, rises=False),
    "hardtanh": Activation("hard tanh", nn.Hardtanh, 4.0),
    "hardswish": Activation("hard swish", nn.Hardswish, 4.0, rises=False),
    "hardsigmoid": Activation("hard sigmoid", nn.Hardsigmoid, 4.5),
    "softsign": Activation("softsign", nn.Softsign, 5.0),
    NONE: Activation("no activation", nn.Identity, 4.5),
}

MOBILE = {"relu6": 1.0, "hardswish": 2.0, "silu": 2.0}
"""Costs in networks of depthwise convolutions (Howard 2017, 2019; Tan 2019)."""

PAIRS: dict[tuple[str, str], float] = {
    (NONE, RELU): 3.0,
    (RELU, NONE): 4.0,
    (RELU, "tanh"): 4.0,
    (RELU, "sigmoid"): 4.0,
    ("tanh", RELU): 4.5,
    ("sigmoid", RELU): 4.5,
    (NONE, "sigmoid"): 5.0,
    (NONE, "tanh"): 5.0,
}
"""Of the convolutions and of the linear layers, where they differ."""
