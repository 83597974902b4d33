"""Objectives, schedules and the optimiser against formulas worked out by hand in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from engine import catalog
from engine.catalog.training import (
    RECIPES,
    AdversarialParams,
    PgdAtParams,
    StandardParams,
    TradesParams,
)
from engine.training.adversary import pgd_examples, trades_examples
from engine.training.objectives import InnerSearch, Objective, Trades, objective_of, trades_loss
from engine.training.optimisation import optimiser, schedule

EPS, STEPS, BETA = 0.1, 3, 6.0
PARAMS: dict[str, StandardParams] = {
    "standard": StandardParams(),
    "pgd-at": PgdAtParams(eps=EPS, attack_steps=STEPS),
    "trades": TradesParams(eps=EPS, attack_steps=STEPS, beta=BETA),
}
each_recipe = pytest.mark.parametrize("name", PARAMS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def by_hand(
    clean: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor, beta: float
) -> float:
    """The definition, image by image and class by class."""
    total = 0.0
    for z, z_adv, y in zip(clean.tolist(), adversarial.tolist(), labels.tolist(), strict=True):
        p, q = softmax(z), softmax(z_adv)
        total += -math.log(p[y]) + beta * sum(
            a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)
        )
    return total / len(labels)


def numeric(function: Callable[[torch.Tensor], float], at: torch.Tensor) -> torch.Tensor:
    """Central differences."""
    result = torch.empty_like(at)
    for place in range(at.numel()):
        step = torch.zeros_like(at)
        step.view(-1)[place] = 1e-6
        result.view(-1)[place] = (function(at + step) - function(at - step)) / 2e-6
    return result


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_loss_and_both_its_gradients(beta: float) -> None:
    clean, adversarial = draw(4, 3), draw(4, 3, seed=1)
    labels = torch.tensor([0, 2, 1, 1])
    z, z_adv = clean.clone().requires_grad_(True), adversarial.clone().requires_grad_(True)
    loss = trades_loss(z, z_adv, labels, beta)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand(clean, adversarial, labels, beta), rel=1e-12)
    for found, wanted in (
        (z.grad, numeric(lambda at: by_hand(at, adversarial, labels, beta), clean)),
        (z_adv.grad, numeric(lambda at: by_hand(clean, at, labels, beta), adversarial)),
    ):
        assert torch.allclose(found, wanted, atol=1e-8)


def test_trades_gradient_stays_finite_where_a_probability_underflows() -> None:
    z = torch.tensor([[0.0, 200.0]], requires_grad=True)
    z_adv = torch.tensor([[1.0, 0.0]], requires_grad=True)
    trades_loss(z, z_adv, torch.tensor([1]), 6.0).backward()
    assert z.grad.isfinite().all()
    assert z_adv.grad.isfinite().all()


class Watched(nn.Module):
    """A linear classifier that notes what it was shown, and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(3, 4, seed=2))
        self.norm = nn.BatchNorm1d(4, dtype=torch.float64)
        self.seen: list[tuple[bool, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, x.detach()))
        self.norm(x.flatten(1))  # counts the forwards that touch its statistics
        return x.flatten(1) @ self.weight.T


IMAGES = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 1, 0])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@each_recipe
def test_the_loss_of_a_batch_and_its_gradient(name: str) -> None:
    model = Watched()
    loss = objective_of(PARAMS[name]).loss(model, IMAGES, LABELS, generator())
    loss.backward()
    shown = [x.flatten(1) for training, x in model.seen if training]
    clean, x = (shown[0], shown[-1])
    beta = BETA if name == "trades" else 0.0
    assert len(shown) == (2 if name == "trades" else 1)
    assert torch.equal(clean, IMAGES.flatten(1)) == (name != "pgd-at")

    def value(weight: torch.Tensor) -> float:
        return by_hand(clean @ weight.T, x @ weight.T, LABELS, beta)

    weight = model.weight.detach()
    assert loss.item() == pytest.approx(value(weight), rel=1e-12)
    assert torch.allclose(model.weight.grad, numeric(value, weight), atol=1e-8)


@each_recipe
def test_only_forwards_of_the_loss_reach_batch_norm(name: str) -> None:
    model = Watched().train()
    objective_of(PARAMS[name]).loss(model, IMAGES, LABELS, generator())
    assert int(model.norm.num_batches_tracked) == (2 if name == "trades" else 1)
    searched = [x for training, x in model.seen if not training]
    assert bool(searched) == (name != "standard")
    assert model.training
    assert model.weight.requires_grad


def test_the_passes_of_hydras_code_move_batch_norm_alone() -> None:
    """Logging, the loss (clean, adversarial), and the target of the divergence once more."""
    seen, gradients = [], []
    for further in (False, True):
        model = Watched().train()
        search = InnerSearch(EPS, STEPS)
        loss = Trades(search, BETA, further_passes=further).loss(model, IMAGES, LABELS, generator())
        gradients.append(torch.autograd.grad(loss, model.weight)[0])
        seen.append("".join(_kind(training, x) for training, x in model.seen))
    searched = "s" * (STEPS + 1)  # the prediction of the clean images, and the steps
    assert seen == [f"{searched}ca", f"c{searched}cac"]
    assert torch.equal(*gradients)


def _kind(training: bool, x: torch.Tensor) -> str:
    return "s" if not training else "c" if torch.equal(x, IMAGES) else "a"


def ascend_by_hand(
    start: torch.Tensor, pull: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Sign steps of 2.5 eps / steps, each clipped to the ball and to [0,1]."""
    flat, x = IMAGES.flatten(1), start.flatten(1)
    for _ in range(STEPS):
        x = x + 2.5 * EPS / STEPS * pull(x).sign()
        x = torch.min(torch.max(x, flat - EPS), flat + EPS).clip(0, 1)
    return x.reshape(IMAGES.shape)


def test_trades_examples_climb_the_divergence_from_a_little_noise() -> None:
    model = Watched()
    weight = model.weight.detach()
    p = (IMAGES.flatten(1) @ weight.T).softmax(1)
    start = IMAGES + 0.001 * torch.randn(IMAGES.shape, generator=generator()).double()
    # d KL(p || q) / d logits of q = q - p
    wanted = ascend_by_hand(start, lambda x: ((x @ weight.T).softmax(1) - p) @ weight)
    found = trades_examples(model, IMAGES, eps=EPS, steps=STEPS, generator=generator())
    assert torch.allclose(found, wanted, atol=1e-12)
    assert torch.allclose(model.seen[1][1], start, atol=1e-15)


def test_pgd_examples_climb_the_cross_entropy_from_anywhere_in_the_ball() -> None:
    model = Watched()
    weight, target = model.weight.detach(), nn.functional.one_hot(LABELS, 3)
    low, high = (IMAGES - EPS).clip(0), (IMAGES + EPS).clip(max=1)
    start = low + (high - low) * torch.rand(IMAGES.shape, generator=generator()).double()
    wanted = ascend_by_hand(start, lambda x: ((x @ weight.T).softmax(1) - target) @ weight)
    found = pgd_examples(model, IMAGES, LABELS, eps=EPS, steps=STEPS, generator=generator())
    # The ball is widened by a rounding error of float32.
    assert torch.allclose(found, wanted, atol=1e-6)


@each_recipe
def test_recipes_and_objectives_are_those_of_the_catalogue(name: str) -> None:
    assert set(PARAMS) == set(catalog.section("training")) == set(RECIPES)
    objective: Objective = objective_of(PARAMS[name])
    adversarial = isinstance(PARAMS[name], AdversarialParams)
    assert objective.threat == (InnerSearch(EPS, STEPS) if adversarial else None)


@pytest.mark.parametrize("kind", ["one-cycle", "cosine", "multistep"])
def test_learning_rates(kind: str) -> None:
    model, steps = nn.Linear(1, 1), 40
    params = StandardParams.model_validate({"lr": 0.5, "schedule": kind})
    optimizer = optimiser(model, params)
    course = schedule(optimizer, params, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        course.step()
    if kind == "cosine":
        wanted = [0.25 * (1 + math.cos(math.pi * k / steps)) for k in range(steps)]
        assert rates == pytest.approx(wanted, abs=1e-12)
    elif kind == "multistep":
        assert rates == pytest.approx([0.5] * 20 + [0.05] * 10 + [0.005] * 10)
    else:
        peak = rates.index(max(rates))
        assert max(rates) == pytest.approx(0.5)
        assert rates[0] == pytest.approx(0.5 / 25)
        assert rates == sorted(rates[:peak]) + sorted(rates[peak:], reverse=True)
        assert rates[-1] < 1e-4


@pytest.mark.parametrize(("nesterov", "momentum"), [(True, 0.9), (False, 0.9), (True, 0.0)])
def test_two_steps_of_sgd(nesterov: bool, momentum: float) -> None:
    lr, decay, slope, w, speed = 0.1, 0.01, 3.0, 2.0, 0.0
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, w)
    params = StandardParams(lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    optimizer = optimiser(model, params)
    for _ in range(2):
        optimizer.zero_grad()
        (slope * model.weight).sum().backward()
        optimizer.step()
        gradient = slope + decay * w
        speed = momentum * speed + gradient
        w -= lr * (gradient + momentum * speed if nesterov else speed)
    assert model.weight.item() == pytest.approx(w, rel=1e-6)
