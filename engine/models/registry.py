"""Architectures by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from engine.errors import ModelError
from engine.models.digits_resnet import digits_resnet

Shape = tuple[int, int, int]

BUILDERS: dict[str, Callable[[Shape, int], nn.Module]] = {"digits-resnet": digits_resnet}


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
