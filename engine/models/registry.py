"""Architectures by name."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import nn

from engine.catalog.models.wiring import Wiring
from engine.errors import ModelError
from engine.models.architectures.digits_cnn import digits_cnn
from engine.models.architectures.digits_resnet import (
    digits_resnet,
    digits_resnet_small,
    digits_resnet_tiny,
)
from engine.models.architectures.mlp import mlp, widths_of
from engine.models.architectures.mobilenet_v2 import mobilenet_v2
from engine.models.architectures.preact_resnet import preact_resnet_18
from engine.models.architectures.resnet import ResNet18, resnet_18
from engine.models.architectures.small_resnet import DEPTHS, NarrowForm, narrow_resnet
from engine.models.architectures.swish_wide_resnet import SwishWideResNet
from engine.models.architectures.vgg import vgg_16_bn
from engine.models.architectures.wide_resnet import WideResNet, wrn_28_4, wrn_28_10, wrn_34_10
from engine.models.outside import OUTSIDE
from engine.models.wired import wire

Shape = tuple[int, int, int]
Builder = Callable[[Shape, int], nn.Module]

BUILDERS: dict[str, Builder] = {
    "digits-resnet": digits_resnet,
    "digits-resnet-small": digits_resnet_small,
    "digits-resnet-tiny": digits_resnet_tiny,
    "digits-cnn": digits_cnn,
    "resnet-18": resnet_18,
    "preact-resnet-18": preact_resnet_18,
    "wrn-28-4": wrn_28_4,
    "wrn-28-10": wrn_28_10,
    "wrn-34-10": wrn_34_10,
    "mobilenet-v2": mobilenet_v2,
    "vgg-16-bn": vgg_16_bn,
    **{f"resnet-{depth}": narrow_resnet(NarrowForm.of_depth(depth)) for depth in DEPTHS},
}
"""From (C, H, W) and a number of classes to a network with fresh weights; sides of 8 or more.

``engine.catalog.models.architectures`` describes them without torch.
"""

_MOST_BLOCKS, _MOST_WIDTH = 200, 64

FAMILIES: dict[str, Callable[..., nn.Module]] = {
    r"wrn-(?P<depth>\d{2,4})-(?P<width>\d{1,2})": WideResNet,
    r"swish-wrn-(?P<depth>\d{2,4})-(?P<width>\d{1,2})": SwishWideResNet,
    r"resnet-18-w(?P<width>\d{1,3})": ResNet18,
}
"""Architectures with numbers in their names, such as ``wrn-70-16`` and ``swish-wrn-28-10``.

``resnet-18-w4`` has 4 channels in its first stage (Ye 2019 calls this the width 1).
"""


def build(architecture: str | Wiring, shape: Shape, classes: int, seed: int = 0) -> nn.Module:
    """Build a network with fresh weights; the global random state is not touched.

    Args:
        architecture: a name in ``BUILDERS``, one that a pattern of ``FAMILIES`` describes, or
            ``torchvision.NAME``, ``timm.NAME``, ``robustbench.THREAT.NAME``; or a wiring, which
            has channels and classes of its own.
        shape: (C, H, W) of one image.
        classes: number of logits.
        seed: of the initial weights.

    Returns:
        A module from (N, C, H, W) images in [0,1] to (N, classes) logits, in training mode.

    Raises:
        ModelError: no such architecture, or the package that has it is not installed.
    """
    builder = _builder(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach CUDA too
        return builder(shape, classes)


def bare(architecture: str | Wiring, shape: Shape, classes: int) -> nn.Module:
    """The same network without memory for its weights: names and shapes only.

    Raises:
        ModelError: as ``build``.
    """
    builder = _builder(architecture)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return builder(shape, classes)
    except RuntimeError:  # some compute widths or rates with tensors, and look at them
        return build(architecture, shape, classes)


def _builder(architecture: str | Wiring) -> Builder:
    if isinstance(architecture, Wiring):
        return lambda _shape, _classes: wire(architecture)
    if architecture in BUILDERS:
        return BUILDERS[architecture]
    for pattern, kind in FAMILIES.items():
        found = re.fullmatch(pattern, architecture)
        if found:
            sizes = {name: int(number) for name, number in found.groupdict().items()}
            _check(architecture, sizes)
            return lambda shape, classes: kind(shape[0], classes, **sizes)
    form, widths = NarrowForm.parse(architecture), widths_of(architecture)
    if form:
        return narrow_resnet(form)
    if widths:
        return mlp(widths)
    package, _, name = architecture.partition(".")
    if package in OUTSIDE and name:
        return lambda shape, classes: OUTSIDE[package](name, shape, classes)
    raise ModelError(
        f"There is no architecture {architecture!r}.",
        f"Known: {', '.join(BUILDERS)}, wrn-DEPTH-WIDTH, swish-wrn-DEPTH-WIDTH, resnet-18-wWIDTH, "
        f"resnet-DEPTH-1x1, resnet-DEPTH-3x3, mlp-INPUTS-WIDTH-..., "
        "torchvision.NAME, timm.NAME, robustbench.THREAT.NAME.",
    )


def _check(architecture: str, sizes: dict[str, int]) -> None:
    depth, width = sizes.get("depth", 10), sizes["width"]
    if (depth - 4) % 6 or not 10 <= depth <= 6 * _MOST_BLOCKS or not 1 <= width <= 64:
        raise ModelError(
            f"There is no architecture {architecture!r}: a wide ResNet has a depth of 10, 16, "
            f"22 ... and every width is from 1 to {_MOST_WIDTH}.",
        )
