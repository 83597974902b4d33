"""Models that look more robust than they are, each hiding its gradients in another way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.specs.choices import make_step
from tests.helpers import trained_nets


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


class WinnersTakeAll(nn.Module):
    """Keeps the largest activations of an image and drops the rest (Xiao 2020, 1905.10510)."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        lowest = flat.topk(max(1, int(self.ratio * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= lowest)).view_as(x)


@cache
def net(name: str = "digits-resnet") -> nn.Module:
    return models.load(catalog.model_card(name))


def activations(make: Callable[[], nn.Module]) -> nn.Module:
    """The undefended net with every ReLU followed by something."""
    return _after_each_relu(models.load(catalog.model_card("digits-resnet")), make).eval()


def int8_without_straight_through() -> nn.Module:
    """Weights and activations of 8 bits, the activations rounded naively."""
    recipe = (make_step({"name": "ptq"}),)
    weights = compression.apply(net(), recipe, compression.Context()).deployed()
    return _after_each_relu(weights, lambda: Round(32))


def _after_each_relu(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Sequential(child, make()))
    return model


def winners_net() -> nn.Sequential:
    """Three convolutions with k-WTA at 5 %."""
    layers: list[nn.Module] = []
    for channels, stride in ((1, 1), (32, 2), (32, 1)):
        layers += [nn.Conv2d(channels, 32, 3, stride, padding=1), WinnersTakeAll(0.05)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


@cache
def winners_take_all() -> nn.Module:
    """The net above, trained on the digits."""
    return trained_nets.load("winners-take-all", winners_net()).requires_grad_(False)


MASKED: dict[str, Callable[[], nn.Module]] = {
    "input rounded": lambda: Around(net(), before=lambda x: (x * 255).round() / 255),
    "input as bytes": lambda: Around(net(), before=lambda x: (x * 255).to(torch.uint8) / 255),
    "activations rounded": lambda: activations(lambda: Round(8)),
    "int8 without straight-through": int8_without_straight_through,
    "logits x 1000": lambda: Around(net(), after=lambda z: 1000 * z),
    "detached forward": lambda: Around(net(), after=lambda z: z.detach()),
    "dropout at test": lambda: activations(Dropout),
    "softmax output": lambda: Around(net(), after=lambda z: z.softmax(dim=1)),
    "k-winners-take-all": winners_take_all,
}
