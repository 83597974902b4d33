"""Checkpoints for the importer: networks with lively statistics, images they are right about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

SIDE = 32


def pictures(count: int = 120, side: int = SIDE, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Smooth uint8 images as floats in [0,1], so that an npz gives the very same numbers."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    fine = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return (fine * 255).round().clamp(0, 255).to(torch.uint8).float() / 255


def lively(model: nn.Module, images: torch.Tensor, seed: int = 1) -> nn.Module:
    """Statistics and affine parameters as in a trained network, and logits that spread."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            nn.init.kaiming_normal_(parameter, generator=generator)
        else:
            parameter.data.uniform_(-0.3, 0.3, generator=generator)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.3, 0.3, generator=generator)
    with torch.no_grad():
        model.train()(images)
        model.eval()
        heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
        if not heads:
            return model
        head = heads[-1]
        found = model(images)
        # Every class has its turn: its logits have mean 0 and the spread of the others.
        spread = found.std(dim=0).clamp_min(1e-6)
        head.weight.data /= spread[:, None]
        if head.bias is not None:
            head.bias.data = (head.bias.data - found.mean(dim=0)) / spread
    return model.eval()


def ask(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)  # type: ignore[no-any-return]


def labelled(model: nn.Module, images: torch.Tensor, path: Path) -> Path:
    """An npz whose labels are what the model says: it is right about all of them."""
    y = ask(model, images).argmax(dim=1).numpy()
    x = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(path, x=x, y=y)
    return path
