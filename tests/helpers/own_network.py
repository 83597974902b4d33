"""A network that no registry knows, and its exported program."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers.checkpoints import lively, pictures

SHAPE = (3, 8, 8)


class Own(nn.Module):
    """A network that no registry knows, with a little of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4, dilation=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm(self.stem(x - self.mean)))
        y = F.max_pool2d(F.relu(self.deep(y)), 2)
        return self.head(self.drop(y).view(x.size(0), -1))  # type: ignore[no-any-return]


def own() -> nn.Module:
    return lively(Own(), pictures(side=8))


def exported(path: Path, net: nn.Module, batch: int | None = None) -> Path:
    images = torch.rand(batch or 2, *SHAPE)
    free = ({0: torch.export.Dim("b")},) if batch is None else None
    torch.export.save(torch.export.export(net, (images,), dynamic_shapes=free), path)
    return path
