"""A model that never sees two images together."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OneByOne(nn.Module):
    """A model with every image in a batch of its own.

    Where logits depend on who else is in the batch, this alone says what becomes of one image.
    A batch of N costs N forwards.

    Args:
        inner: from (N, C, H, W) images to (N, K) logits; shared, not copied.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        if len(images) < 2:
            logits: Tensor = self.inner(images)
            return logits
        # Copies, as a model may write its next logits into the same memory.
        parts = [self.inner(images[at : at + 1]).clone() for at in range(len(images))]
        return torch.cat(parts)
