"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from engine.errors import ModelError
from engine.models.digits_resnet import digits_resnet
from engine.models.mobilenet_v2 import mobilenet_v2
from engine.models.preact_resnet import preact_resnet_18
from engine.models.resnet import resnet_18
from engine.models.wide_resnet import wrn_28_4, wrn_28_10, wrn_34_10

Shape = tuple[int, int, int]

BUILDERS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "digits-resnet": digits_resnet,
    "resnet-18": resnet_18,
    "preact-resnet-18": preact_resnet_18,
    "wrn-28-4": wrn_28_4,
    "wrn-28-10": wrn_28_10,
    "wrn-34-10": wrn_34_10,
    "mobilenet-v2": mobilenet_v2,
}
"""From (C, H, W) and a number of classes to a network with fresh weights; sides of 8 or more."""


def build(architecture: str, shape: Shape, classes: int, seed: int = 0) -> nn.Module:
    """Build a network with fresh weights; the global random state is not touched.

    Args:
        architecture: a name in ``BUILDERS``.
        shape: (C, H, W) of one image.
        classes: number of logits.
        seed: of the initial weights.

    Returns:
        A module from (N, C, H, W) images in [0,1] to (N, classes) logits, in training mode.

    Raises:
        ModelError: no such architecture.
    """
    if architecture not in BUILDERS:
        raise ModelError(
            f"There is no architecture {architecture!r}.", f"Known: {', '.join(BUILDERS)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach CUDA too
        return BUILDERS[architecture](shape, classes)
