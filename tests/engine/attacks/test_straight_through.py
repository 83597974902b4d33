"""The twins of a view: exact values, and the gradients they promise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from engine.diagnostics import Averaged, StraightThrough, choose_view
from engine.diagnostics.averaged import FORWARDS
from tests.helpers.attack_models import Rounded, Wrapped, trained

POINTS = torch.linspace(0, 1, 11)


class Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return 2 * x


def _quantised(x: Tensor) -> Tensor:
    return torch.quantize_per_tensor(x, 0.1, 0, torch.quint8).dequantize()


# What the slope is where the function of the ramp through the steps has it; else 0.
CUT: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "round": (lambda x: (8 * x).round() / 8, 1),
    "round to decimals": (lambda x: x.round(decimals=1), 1),
    "torch.round": (lambda x: torch.round(8 * x), 8),
    "aten": (lambda x: torch.ops.aten.round.default(8 * x), 8),
    "in place": (lambda x: (8 * x).round_() / 8, 1),
    "aten in place": (lambda x: torch.ops.aten.round_.default(8 * x), 8),
    "floor": (lambda x: (8 * x).floor(), 8),
    "ceil": (lambda x: (8 * x).ceil(), 8),
    "trunc": (lambda x: (8 * x).trunc(), 8),
    "floor division": (lambda x: x // 0.25, 4),
    "rounded division": (lambda x: torch.div(x, 0.25, rounding_mode="floor"), 4),
    "bytes": (lambda x: (255 * x).to(torch.uint8).float() / 255, 1),
    "bytes, divided": (lambda x: (255 * x).byte() / 255, 1),
    "integers computed with": (lambda x: 3 * ((255 * x).long() + 3).double().float(), 765),
    "quantised tensor": (_quantised, 1),
    "sign": (lambda x: (x - 0.5).sign(), 1),
    "heaviside": (lambda x: torch.heaviside(x - 0.5, torch.tensor(0.0)), 0.5),
    "comparison": (lambda x: (x > 0.5).float(), 0.5),
    "comparison, reversed": (lambda x: (x <= 0.5) * 3.0, -1.5),
    "not": (lambda x: (~(x > 0.5)).float(), -0.5),
    "where": (lambda x: torch.where(x > 0.5, 1.0, -1.0), 1),
    "detach": (lambda x: (2 * x).detach(), 2),
    "data": (lambda x: (2 * x).data, 2),
    "no_grad": (_without_grad, 2),
}


def _slope(function: Callable[[Tensor], Tensor], points: Tensor = POINTS) -> Tensor:
    leaf = points.clone().requires_grad_()
    values = StraightThrough(Applied(function))(leaf)
    assert torch.equal(values.detach(), function(points)), "the value is exact"
    return torch.autograd.grad(values.sum(), leaf)[0]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("case", CUT)
def test_what_cuts_the_gradient_does_not_in_the_twin(case: str) -> None:
    function, slope = CUT[case]
    leaf = POINTS.clone().requires_grad_()
    plain = function(leaf)
    if plain.requires_grad:
        with suppress(RuntimeError):  # "derivative is not implemented"
            assert not torch.autograd.grad(plain.sum(), leaf)[0].any(), "nothing is cut"
    assert torch.allclose(_slope(function), torch.full_like(POINTS, slope))


KEPT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "smooth": (lambda x: (3 * x).exp(), lambda x: 3 * (3 * x).exp()),
    "straight-through already": (
        lambda x: x + ((8 * x).round() / 8 - x).detach(),
        torch.ones_like,
    ),
    "where on branches": (
        lambda x: torch.where(x > 0.55, 2 * x, -x),
        lambda x: torch.where(x > 0.55, 2.0, -1.0),
    ),
    "clamp, bounds included": (
        lambda x: (10 * x).round().clamp(2, 8),
        lambda x: 10.0 * ((x > 0.15) & (x < 0.85)),
    ),
    "sign far from its jump": (
        lambda x: (8 * x - 4).sign(),
        lambda x: 8.0 * ((x - 0.5).abs() < 0.15),
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_slopes(case: str) -> None:
    function, slope = KEPT[case]
    assert torch.allclose(_slope(function), slope(POINTS).float())


def test_what_has_no_float_counterpart_stays_cut() -> None:
    levels = torch.arange(9.0)
    leaf = POINTS.clone().requires_grad_()
    values = StraightThrough(Applied(lambda x: levels[(8 * x).long()]))(leaf)
    assert torch.equal(values, levels[(8 * POINTS).long()])
    assert not values.requires_grad


def test_an_integer_changed_in_place_does_not_carry_old_floats() -> None:
    def function(x: Tensor) -> Tensor:
        mask = x > 0.5
        mask &= x > 0.8
        return mask.float() + 0 * x

    assert not _slope(function).any()


def test_the_mode_ends_with_the_forward() -> None:
    twin = StraightThrough(Applied(_without_grad))
    leaf = POINTS.clone().requires_grad_()
    with torch.no_grad():
        assert not twin(leaf).requires_grad
    twin(leaf)
    assert torch.is_grad_enabled()
    with pytest.raises(ZeroDivisionError):
        StraightThrough(Applied(lambda x: x / (1 // 0)))(leaf)
    assert not torch.autograd.grad(leaf.round().sum(), leaf)[0].any()
    with torch.no_grad():
        assert not torch.is_grad_enabled()


def test_the_twin_of_a_naive_net_is_the_straight_through_net() -> None:
    """The same network with an estimator of its own is the reference."""
    net, images, labels = trained()
    layers = list(net)

    def rounded(straight_through: bool) -> nn.Module:
        return nn.Sequential(*layers[:3], Rounded(straight_through), *layers[3:]).eval()

    gradients = []
    for model in (rounded(True), StraightThrough(rounded(False))):
        leaf = images[:50].clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(leaf), labels[:50])
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    assert torch.equal(*gradients)


def test_averaging_is_the_mean_over_fresh_draws() -> None:
    draws: list[Tensor] = []

    def noisy(x: Tensor) -> Tensor:
        draws.append(torch.randn_like(x))
        return x + draws[-1]

    leaf = POINTS.clone().requires_grad_()
    values = Averaged(Applied(noisy))(leaf)
    assert len(draws) == FORWARDS
    assert not torch.equal(draws[0], draws[1])
    assert torch.allclose(values, POINTS + torch.stack(draws).mean(dim=0))
    assert torch.allclose(torch.autograd.grad(values.sum(), leaf)[0], torch.ones_like(POINTS))


def test_both_twins_where_both_are_needed() -> None:
    net, images, labels = trained()
    model = Wrapped(net, before=lambda x: ((x + 0.02 * torch.randn_like(x)) * 255).round() / 255)
    found = choose_view(model, model, images[:64], labels[:64])
    assert found.twins == ("straight-through", "averaged")
    assert {flag.id: flag.level for flag in found.report.flags} == {
        "random-output": "warning",
        "straight-through-view": "info",
        "averaged-view": "info",
    }


def test_a_twin_that_cannot_run_leaves_the_flags() -> None:
    """NumPy cannot take what carries a gradient, so the twin raises where the model does not."""
    net, images, labels = trained()

    def through_numpy(x: Tensor) -> Tensor:
        return torch.from_numpy((x.detach().numpy() * 255).round() / 255).to(x)

    found = choose_view(*[Wrapped(net, before=through_numpy)] * 2, images[:64], labels[:64])
    assert found.twins == ()
    assert [flag.id for flag in found.report.flags] == ["no-gradient"]
