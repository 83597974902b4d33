"""How published counts and rates come about: exact fractions, and layers counted without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise


def exact(number: float) -> Fraction:
    """A number as it is written in decimals: 0.99 is 99/100."""
    return Fraction(str(number))


def is_whole_count(percent: float, n: int) -> bool:
    """Whether a share in percent can be a whole number of n things, rounded as it is written."""
    return rounds_to(100 * round(percent * n / 100) / n, percent)


def smallest_sample(percents: Iterable[float]) -> int:
    """The smallest n of which all shares are whole counts; every other is a multiple of it."""
    return math.lcm(*((exact(percent) / 100).denominator for percent in percents))


def rate_of(pruned: float) -> float:
    """The compression rate by weights if this share of them is gone: 0.99 gives 100."""
    return float(1 / (1 - exact(pruned)))


def left(total: int, pruned: float) -> int:
    """What is left of a count if this share is gone, its fraction cut off."""
    return math.floor((1 - exact(pruned)) * total)


def is_quotient(count: int, total: int, rate: float) -> bool:
    """Whether a count is total / rate, rounded in whatever way."""
    return abs(count - total / exact(rate)) <= Fraction(1, 2)


def rounds_to(value: float, stated: float) -> bool:
    """Whether a value is the stated one at the decimals in which that is written."""
    digits = -int(Decimal(str(stated)).normalize().as_tuple().exponent)
    return round(value, max(0, digits)) == stated


@dataclass(frozen=True)
class Counts:
    """What a network is made of.

    Attributes:
        convolutions: weights of convolutions, none of which has a bias.
        linear: weights of the last layer.
        rest: scales and shifts of BatchNorm, and the biases of the last layer.
    """

    convolutions: int
    linear: int
    rest: int

    @property
    def weights(self) -> int:
        """Weights of convolutions and of the last layer."""
        return self.convolutions + self.linear

    @property
    def total(self) -> int:
        """All trained numbers."""
        return self.weights + self.rest

    @property
    def with_scores(self) -> int:
        """With a second number beside every weight, as layers have that learn a mask."""
        return self.total + self.weights

    def left_in_convolutions(self, rate: float) -> int:
        """What is not zero if all convolutions, and nothing else, lose 1 - 1/rate."""
        return math.floor(self.convolutions / exact(rate)) + self.linear + self.rest


def _counts(
    convolutions: Iterable[tuple[int, int, int]], norms: Iterable[int], features: int, classes: int
) -> Counts:
    return Counts(
        convolutions=sum(inputs * outputs * side**2 for inputs, outputs, side in convolutions),
        linear=features * classes,
        rest=2 * sum(norms) + classes,
    )


def wide_resnet(
    depth: int, width: int, *, spare_stage: bool = False, channels: int = 3, classes: int = 10
) -> Counts:
    """A wide ResNet of CIFAR.

    Args:
        depth: 6 n + 4.
        width: the factor over 16, 32 and 64 channels, above 1.
        spare_stage: with the second copy of the first stage that many published checkpoints hold
            and no forward uses (``sub_block1``).
        channels: of an image.
        classes: number of logits.
    """
    blocks = (depth - 4) // 6
    widths = [16, *(factor * width for factor in (16, 32, 64))]
    stages = list(pairwise(widths))
    convolutions = [(channels, 16, 3)]
    norms = [widths[-1]]
    for inputs, outputs in [*stages, *stages[: int(spare_stage)]]:
        convolutions += [(inputs, outputs, 3), (inputs, outputs, 1)]
        convolutions += [(outputs, outputs, 3)] * (2 * blocks - 1)
        norms += [inputs, *[outputs] * (2 * blocks - 1)]
    return _counts(convolutions, norms, widths[-1], classes)


def resnet_18(channels: int = 3, classes: int = 10) -> Counts:
    """ResNet-18 in its CIFAR form."""
    widths = [64, 64, 128, 256, 512]
    convolutions, norms = [(channels, 64, 3)], [64]
    for inputs, outputs in pairwise(widths):
        convolutions += [(inputs, outputs, 3), *[(outputs, outputs, 3)] * 3]
        norms += [outputs] * 4
        if inputs != outputs:
            convolutions.append((inputs, outputs, 1))
            norms.append(outputs)
    return _counts(convolutions, norms, widths[-1], classes)


COUNTED: dict[str, Callable[[], Counts]] = {
    "resnet-18": resnet_18,
    "wrn-28-4": lambda: wide_resnet(28, 4),
    "wrn-28-10": lambda: wide_resnet(28, 10),
    "wrn-34-10": lambda: wide_resnet(34, 10),
}
"""Architectures of the catalogue whose layers are counted here."""

WITH_SPARE_STAGE: dict[str, Callable[[], Counts]] = {
    "wrn-28-4": lambda: wide_resnet(28, 4, spare_stage=True),
    "wrn-28-10": lambda: wide_resnet(28, 10, spare_stage=True),
    "wrn-34-10": lambda: wide_resnet(34, 10, spare_stage=True),
}
"""Those that published checkpoints hold with the stage that no forward uses."""
