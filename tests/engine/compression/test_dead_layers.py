"""Filters and layers that are zero, tiny or denormal give numbers under every step, and no NaN."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from engine import compression
from engine.compression.registry import METHODS
from engine.data import ImageSet, training_images
from engine.specs.choices import make_step

BALL = {"eps": 0.1, "attack_steps": 1}
ONCE = {"epochs": 1, "batch_size": 64}
SCORES = {"name": "hydra", "density": 0.3, "prune_epochs": 1, "finetune_epochs": 1, **BALL}
RAP = {"name": "rap-admm", "admm_epochs": 1, "retrain_epochs": 1, **BALL}
QAT = {"name": "qat", "first_last": "same", **ONCE}
TABLES: list[dict[str, Any]] = [
    {"name": "magnitude", "sparsity": 0.5},
    {"name": "magnitude", "sparsity": 0.5, "scope": "layer"},
    {"name": "magnitude", "schedule": "gradual", "ramp_epochs": 1, **ONCE},
    {"name": "filter"},
    {"name": "filter", "scope": "global", "criterion": "l2"},
    {"name": "nm-sparsity", "indivisible": "dense"},
    {"name": "channel", "keep": 0.6},
    SCORES,
    {**SCORES, "scores": "kaiming", "finetune_epochs": 0},
    RAP,
    {**RAP, "pattern": "filter"},
    {**RAP, "pattern": "column"},
    {"name": "ptq", "bits": 2},
    {"name": "ptq", "bits": 8, "activation_bits": 4},
    {**QAT, "method": "lsq", "bits": 2, "activation_bits": 2},
    {**QAT, "method": "lsq", "bits": 4, "steps": "channel"},
    {**QAT, "method": "dorefa", "bits": 1},
    {**QAT, "method": "dorefa", "bits": 3, "rescale": "all"},
    {**QAT, "method": "binary", "bits": 1, "rescale": "all"},
    {**QAT, "method": "binary", "bits": 1, "bound": "glorot"},
    {"name": "finetune", **ONCE},
    {"name": "kd", **ONCE},
    *({"name": name, **ONCE, **BALL} for name in ("ard", "rslad", "iad-1")),
    {"name": "iad-2", "teacher_standard": "base", **ONCE, **BALL},
    {"name": "akd2", "teacher_standard": "base", **ONCE, **BALL},
    *({"name": name} for name in ("bit-depth", "jpeg", "median", "total-variation")),
    {"name": "random-resize"},
    *({"name": name, **ONCE} for name in ("defensive-distillation", "purify")),
]


def network(dust: str) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
    weight = layers[1].weight.data
    bias = layers[1].bias
    assert bias is not None
    if dust == "filters":
        weight[0] = 0
        weight[1] *= 1e-30
        weight[2] = weight[2].sign() * 1e-43
        bias.data[3] = -100.0  # a dead ReLU
    elif dust == "dead ReLUs":
        bias.data.fill_(-100.0)
    else:
        weight.copy_(weight.sign() * float(dust))
    head = nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(12 * 16, 10))
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), *head).eval()


@pytest.fixture(scope="module")
def few() -> ImageSet:
    known = training_images("digits")
    return replace(known, **{k: getattr(known, k)[:60] for k in ("images", "labels", "indices")})


@pytest.mark.parametrize("dust", ["filters", "dead ReLUs", "0", "1e-43", "1e-30"])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: make_step(table).label)
def test_dust_gives_no_nan(table: dict[str, Any], dust: str, few: ImageSet) -> None:
    base = network(dust)
    context = compression.Context(
        calibration=few.images[:32],
        training=few,
        teacher=lambda _: copy.deepcopy(base).requires_grad_(False),
    )
    variant = compression.apply(base, (make_step(table),), context)
    images = few.images[:8].clone().requires_grad_(True)
    logits = variant.attack_view()(images)
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), images)
    numbers = [logits, gradient, *variant.live.state_dict().values()]
    assert all(bool(one.isfinite().all()) for one in numbers)


def test_every_step_is_tried() -> None:
    assert {table["name"] for table in TABLES} == set(METHODS)
