"""Labels that are less than certain: mixed images (mixup) and label smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

_SEEDS = 2**63 - 1


@dataclass(frozen=True)
class Softening:
    """How the labels of a batch are softened; by default they are not.

    Attributes:
        mixup: alpha of the Beta(alpha, alpha) that the share of an image in its mixture with
            another one of the batch is drawn from, once a batch (Zhang 2018, arXiv 1710.09412);
            0 mixes nothing and draws nothing.
        smoothing: probability that the label leaves to all other classes in equal parts, at
            most 0.5.
    """

    mixup: float = 0.0
    smoothing: float = 0.0

    def batch(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> SoftBatch:
        """The images of a batch as they are trained on.

        Args:
            images: (N, C, H, W) in [0,1].
            labels: (N,) int64.
            generator: of share and partners, on the CPU.
        """
        if not self.mixup:
            return SoftBatch(images, labels, labels, 1.0, self.smoothing)
        # NumPy draws, since torch's Beta knows the global generator only.
        seed = int(torch.randint(_SEEDS, (), generator=generator))
        share = float(np.random.default_rng(seed).beta(self.mixup, self.mixup))
        partners = torch.randperm(len(labels), generator=generator).to(labels.device)
        mixed = share * images + (1 - share) * images[partners]
        return SoftBatch(mixed, labels, labels[partners], share, self.smoothing)


HARD = Softening()
"""Labels as they are."""


@dataclass(frozen=True, eq=False)
class SoftBatch:
    """Images with the labels of what is mixed in each.

    Attributes:
        images: (N, C, H, W) in [0,1].
        labels: (N,) int64, of the first image of each mixture.
        others: of the second.
        share: of the first, from 0 to 1.
        smoothing: see ``Softening``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float
    smoothing: float

    def cross_entropy(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean loss of (N, K) logits, by the shares of the labels."""
        first = self._smoothed(logits, self.labels)
        if self.share == 1:
            return first
        return self.share * first + (1 - self.share) * self._smoothed(logits, self.others)

    def _smoothed(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # Torch spreads over all classes, the label too; here it has no part of what it leaves.
        classes = logits.shape[1]
        spread = self.smoothing * classes / (classes - 1) if self.smoothing else 0.0
        return F.cross_entropy(logits, labels, label_smoothing=spread)
