"""Models that hide their gradients, one by one: each must be flagged, the healthy ones not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.attacks import run_attack
from engine.data import load
from engine.diagnostics import (
    black_box_broken,
    black_box_flag,
    black_box_rival,
    compare,
    examine,
)
from engine.errors import AttackError
from engine.specs import DatasetSpec, Step, make_attack, make_step

ATTACK = make_attack({"name": "pgd", "eps": 0.15, "steps": 20})


class Around(nn.Module):
    """A network with something done to its input and its output."""

    def __init__(
        self,
        inner: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda z: z,
    ) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inner(self.before(x)))


class Dropout(nn.Module):
    """Dropout that stays on in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.2, training=True)


class Round(nn.Module):
    """Rounds activations, without a straight-through gradient."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.levels).round() / self.levels


@cache
def net(name: str = "digits-resnet") -> nn.Module:
    return models.load(catalog.model_card(name))


def activations(make: Callable[[], nn.Module]) -> nn.Module:
    """The undefended net with every ReLU replaced or followed by something."""
    model = models.load(catalog.model_card("digits-resnet"))
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Sequential(child, make()))
    return model.eval()


def int8_without_straight_through() -> nn.Module:
    """Weights and activations of 8 bits, the activations rounded naively."""
    recipe = (compression_step("ptq"),)
    weights = compression.apply(net(), recipe, compression.Context()).deployed()
    for module in list(weights.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Sequential(child, Round(32)))
    return weights


def compression_step(name: str) -> Step:
    return make_step({"name": name})


MASKED: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "input rounded": (
        lambda: Around(net(), before=lambda x: (x * 255).round() / 255),
        {"zero-gradient"},
    ),
    "activations rounded": (lambda: activations(lambda: Round(8)), {"zero-gradient"}),
    "int8 without straight-through": (int8_without_straight_through, {"zero-gradient"}),
    "logits x 1000": (lambda: Around(net(), after=lambda z: 1000 * z), {"saturated-loss"}),
    "detached forward": (
        lambda: Around(net(), after=lambda z: z.detach()),
        {"no-gradient"},
    ),
    "dropout at test": (lambda: activations(Dropout), {"random-output"}),
    "softmax output": (lambda: Around(net(), after=lambda z: z.softmax(dim=1)), {"probabilities"}),
}


def flags(model: nn.Module) -> dict[str, str]:
    """What the gate and the gradient-free check say."""
    test = load(DatasetSpec(name="digits", limit=64), seed=0)
    found = list(examine(model, model, test.images, test.labels).flags)
    rival = black_box_rival(ATTACK)
    assert rival is not None
    try:
        whitebox = run_attack(model, test.images, test.labels, ATTACK).broken
    except AttackError:
        return {flag.id: flag.level for flag in found}
    blackbox = black_box_broken(model, test.images, test.labels, rival, seed=0)
    flag = black_box_flag(compare(whitebox, blackbox))
    return {one.id: one.level for one in [*found, *([flag] if flag else [])]}


@pytest.mark.parametrize("case", MASKED)
def test_masked_models_are_flagged(case: str) -> None:
    build, expected = MASKED[case]
    torch.manual_seed(0)
    assert expected <= set(flags(build()))


@pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"])
def test_healthy_models_are_not(name: str) -> None:
    assert flags(net(name)) == {}
