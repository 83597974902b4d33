"""What a step was asked for and did not do is said, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from engine import compression
from engine.compression import Context
from engine.compression.reach import Layers, shortfall
from engine.data import ImageSet, training_images
from engine.specs.choices import make_step

RAP = {"admm_epochs": 1, "retrain_epochs": 0, "eps": 0.1, "attack_steps": 1}


def two() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


def wide() -> nn.Module:
    """Most weights lie in a linear layer in the middle."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(80, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bare = nn.Parameter(torch.eye(64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1) @ self.bare)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    known = training_images("digits")
    return replace(known, **{k: getattr(known, k)[:60] for k in ("images", "labels", "indices")})


def told(net: nn.Module, table: dict[str, Any], digits: ImageSet) -> str:
    step = make_step(table)
    before = Layers.of(net)
    context = Context(shape=(1, 8, 8), training=digits)
    return shortfall(step, before, Layers.of(compression.apply(net, (step,), context).live))


ENDS = "no layer of this network; left out: "


@pytest.mark.parametrize(
    ("net", "table", "said"),
    [
        (two, {"name": "ptq", "bits": 2, "skip_first_last": True}, ENDS + "1, 3."),
        (two, {"name": "qat", "bits": 2, "epochs": 1}, ENDS + "1 (8 bits), 3 (8 bits)."),
        (wide, {"name": "filter"}, "10.7% of the weights of this network; left out: 5, 7."),
        (wide, {"name": "nm-sparsity", "indivisible": "dense", "m": 5}, "left out: 0, 2."),
        (wide, {"name": "rap-admm", **RAP}, "10.7% of the weights of this network; left out: 5"),
        (Bare, {"name": "magnitude"}, "13.5% of the weights of this network; left out: 4,096"),
    ],
)
def test_what_was_not_done_is_said(
    net: Any, table: dict[str, Any], said: str, digits: ImageSet
) -> None:
    assert said in told(net(), table, digits)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "magnitude"},
        {"name": "ptq", "bits": 2, "skip_first_last": True},
        {"name": "qat", "bits": 2, "epochs": 1},
        {"name": "channel", "keep": 0.6},
        {"name": "finetune", "epochs": 1},
        {"name": "hydra", "density": 0.3, "prune_epochs": 0, "finetune_epochs": 0},
    ],
)
def test_what_was_done_as_asked_needs_no_word(table: dict[str, Any], digits: ImageSet) -> None:
    """The first and the last layer are left because it was asked for."""
    assert told(wide(), table, digits) == ""
