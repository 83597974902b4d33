"""The optimiser of a training run and the course of its learning rate."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)

from engine.catalog.training import StandardParams


def sgd(model: nn.Module, params: StandardParams) -> SGD:
    """SGD on all parameters that want a gradient."""
    return SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        nesterov=params.nesterov and params.momentum > 0,
    )


def schedule(optimizer: torch.optim.Optimizer, params: StandardParams, steps: int) -> LRScheduler:
    """The learning rate of each of ``steps`` gradient steps; stepped after every one."""
    if params.schedule == "one-cycle":
        return OneCycleLR(optimizer, params.lr, total_steps=steps, cycle_momentum=False)
    if params.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return MultiStepLR(optimizer, milestones=[steps // 2, steps * 3 // 4], gamma=0.1)
