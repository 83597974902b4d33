"""The optimiser of a training run and the course of its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)

from engine.catalog.training import StandardParams
from engine.training.checkpoint import Tensors

Course = Callable[[float], float]
"""From epochs behind, for example 2.25, to the factor of the learning rate."""


def optimiser(
    model: nn.Module, params: StandardParams, factors: Mapping[str, float] | None = None
) -> Optimizer:
    """SGD or Adam on all parameters that want a gradient.

    Args:
        model: whose parameters.
        params: name the optimiser and its numbers.
        factors: of the learning rate, by name of the parameter; 1 for those not named.
    """
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((factors or {}).get(name, 1.0), []).append(parameter)
    wanted = [
        {"params": members, "lr": params.lr * factor}
        for factor, members in groups.items()
        if members
    ]
    if params.optimizer == "adam":
        return Adam(wanted, lr=params.lr, weight_decay=params.weight_decay)
    return SGD(
        wanted,
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
        nesterov=params.nesterov and params.momentum > 0,
    )


def schedule(
    optimizer: Optimizer, params: StandardParams, steps: int, course: Course | None = None
) -> LRScheduler:
    """The learning rate of each of ``steps`` gradient steps; stepped after every one.

    Args:
        optimizer: whose rate it sets.
        params: name the schedule.
        steps: of the whole run.
        course: takes the place of the named schedule.
    """
    if course is not None:
        epoch = steps / params.epochs
        return LambdaLR(optimizer, lambda step: course(step / epoch))
    if params.schedule == "one-cycle":
        highest = [float(group["lr"]) for group in optimizer.param_groups]
        return OneCycleLR(optimizer, highest, total_steps=steps, cycle_momentum=False)
    if params.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return MultiStepLR(optimizer, milestones=[steps // 2, steps * 3 // 4], gamma=0.1)


def optimiser_state(optimizer: Optimizer) -> tuple[Tensors, list[dict[str, Any]]]:
    """Momenta and the like as tensors by ``parameter/name``, and the groups without parameters."""
    state = optimizer.state_dict()
    tensors = {
        f"{place}/{name}": torch.as_tensor(value)
        for place, values in state["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return tensors, state["param_groups"]


def restore_optimiser(optimizer: Optimizer, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
    """Take back what ``optimiser_state`` gave."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        place, _, name = key.partition("/")
        state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})
