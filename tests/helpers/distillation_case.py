"""A tiny distillation in float64 and the plain arithmetic that its loss is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from engine import catalog
from engine.compression import Context
from engine.compression.methods.distillation import objective_for
from engine.data import ImageSet
from engine.specs.choices import make_step
from engine.training.objectives import Objective

EPS, STEPS, CLASSES = 0.1, 3, 3
IMAGES = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 1, 0])
BALL = {"eps": EPS, "attack_steps": STEPS}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


class Linear(nn.Module):
    """A linear classifier that notes what it was shown, and in which mode."""

    def __init__(self, seed: int, size: float) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        start = torch.randn(CLASSES, 4, generator=draw, dtype=torch.float64)
        self.weight = nn.Parameter(size * start)
        self.norm = nn.BatchNorm1d(4, dtype=torch.float64)
        self.seen: list[tuple[bool, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, x.detach()))
        self.norm(x.flatten(1))  # counts the forwards that touch its statistics
        return x.flatten(1) @ self.weight.T


@dataclass
class Setting:
    """An objective with the student and the teachers it was asked for."""

    objective: Objective
    student: Linear
    teachers: dict[str, Linear]

    def loss(self) -> torch.Tensor:
        return self.objective.loss(self.student, IMAGES, LABELS, generator())

    def shown(self) -> list[torch.Tensor]:
        """What the student passed over in train mode."""
        return [x for training, x in self.student.seen if training]


def setting(table: dict[str, Any], epoch: int = 1) -> Setting:
    """What a step of a recipe minimises in an epoch."""
    params = parameters(table)
    teachers: dict[str, Linear] = {}

    def teacher(name: str) -> nn.Module:
        return teachers.setdefault(name, Linear(11 + len(teachers), 3.0))

    training = ImageSet(IMAGES, LABELS, torch.arange(5), tuple("abc"), "tiny", "tiny")
    objective = objective_for(params, Context(training=training, teacher=teacher), CLASSES)
    student = Linear(2, 2.0).train()
    objective.begin_epoch(student, epoch)
    return Setting(objective, student, teachers)


def parameters(table: dict[str, Any]) -> Any:
    ball = {} if table["name"] == "kd" else BALL
    # The bundled standard model is no teacher for these images.
    standard = {"teacher_standard": "base"} if table["name"] in ("iad-2", "akd2") else {}
    step = make_step({**ball, **standard, **table})
    return catalog.find("compressions", step.name).params.model_validate(step.params)


def learning(table: dict[str, Any]) -> Any:
    """With the learning rate that the step trains with."""
    params = parameters(table)
    return params.model_copy(update={"lr": params.rate})


def softmax(row: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp((z - max(row)) / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def kl(target: list[float], row: list[float], temperature: float = 1.0) -> float:
    """Of two rows of logits: sum over the classes of p log(p / q)."""
    p, q = softmax(target, temperature), softmax(row, temperature)
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def ce(row: list[float], label: int) -> float:
    return -math.log(softmax(row)[label])


@dataclass
class Rows:
    """The logits of one image: student and teachers, on the clean image and on x~."""

    s: list[float]
    s_adv: list[float]
    t: list[float]
    t_adv: list[float]
    y: int

    @property
    def a(self) -> float:
        """A_i at the published power."""
        return softmax(self.t_adv)[self.y] ** 0.1


Formula = Callable[[Rows], float]


def mean(formula: Formula, weight: torch.Tensor, teacher: torch.Tensor, x: torch.Tensor) -> float:
    """A formula over the batch, at a weight of the student."""
    flat, flat_adv = IMAGES.flatten(1), x.flatten(1)
    logits = [
        (images @ matrix.T).tolist() for matrix in (weight, teacher) for images in (flat, flat_adv)
    ]
    rows = [Rows(*one) for one in zip(*logits, LABELS.tolist(), strict=True)]
    return sum(formula(one) for one in rows) / len(rows)


def numeric(function: Callable[[torch.Tensor], float], at: torch.Tensor) -> torch.Tensor:
    """Central differences."""
    result = torch.empty_like(at)
    for place in range(at.numel()):
        step = torch.zeros_like(at)
        step.view(-1)[place] = 1e-6
        result.view(-1)[place] = (function(at + step) - function(at - step)) / 2e-6
    return result
