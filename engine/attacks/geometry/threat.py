"""The balls of APGD: where a search may go, where it starts and which way is steepest."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from engine.attacks.geometry.ball import l2_project, linf_bounds


class Region(Protocol):
    """Ball around the image of each lane, cut by the box."""

    def start(self, noise: Tensor) -> Tensor:
        """A point inside, from uniform noise in [-1, 1)."""

    def project(self, points: Tensor) -> Tensor:
        """The points, brought back inside."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Direction of length 1 in the norm of the ball; 0 where there is no gradient."""

    def keep(self, stay: Tensor) -> None:
        """Forget all images but those with these indices."""


class LinfRegion:
    """The Linf ball of radius eps."""

    def __init__(self, images: Tensor, eps: float) -> None:
        self._images, self._eps = images, eps
        self._lower, self._upper = linf_bounds(images, eps)

    def start(self, noise: Tensor) -> Tensor:
        return self.project(self._images + self._eps * _over_largest(noise))

    def project(self, points: Tensor) -> Tensor:
        return torch.clamp(points, self._lower, self._upper)

    def steepest(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def keep(self, stay: Tensor) -> None:
        self._images = self._images[stay]
        self._lower, self._upper = self._lower[stay], self._upper[stay]


class L2Region:
    """The L2 ball of radius eps."""

    def __init__(self, images: Tensor, eps: float) -> None:
        self._images, self._eps = images, eps

    def start(self, noise: Tensor) -> Tensor:
        """Uniform in direction, on the sphere."""
        normal = torch.erfinv(noise.clamp(-0.999999, 0.999999))
        return self.project(self._images + self._eps * self.steepest(normal))

    def project(self, points: Tensor) -> Tensor:
        return l2_project(self._images, points, self._eps)

    def steepest(self, gradient: Tensor) -> Tensor:
        # First by the largest entry: the squares of a tiny gradient would vanish.
        scaled = _over_largest(gradient)
        length = scaled.flatten(1).norm(dim=1).clamp(min=1.0)
        unit: Tensor = scaled / length.view(-1, *[1] * (scaled.dim() - 1))
        return unit

    def keep(self, stay: Tensor) -> None:
        self._images = self._images[stay]


def region_of(norm: str, images: Tensor, eps: float) -> Region:
    """The ball of that norm, ``Linf`` or ``L2``."""
    return LinfRegion(images, eps) if norm == "Linf" else L2Region(images, eps)


def _over_largest(values: Tensor) -> Tensor:
    largest = values.flatten(1).abs().amax(dim=1).view(-1, *[1] * (values.dim() - 1))
    return values / torch.where(largest > 0, largest, torch.ones_like(largest))
