"""Quantisers for training: values and gradients against their definitions, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.compression.layers import attach, settle
from engine.compression.parts.binary import BinaryQuantiser, SignActivation
from engine.compression.parts.dorefa import DorefaActivation, DorefaQuantiser, DorefaSign, UnitClip
from engine.compression.parts.lsq import LsqActivation, LsqQuantiser, learned_step


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of the outputs."""
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


POINTS = torch.tensor([-1.5, -1.0, -0.4, -0.0, 0.0, 0.3, 1.0, 1.2], dtype=torch.float64)


@pytest.mark.parametrize("bound", [1.0, 0.4])
def test_binary_weights_are_signs_with_the_gradient_of_the_identity_within_the_bound(
    bound: float,
) -> None:
    """BinaryConnect: H sign(W), and the gradient of the product is the identity for any H."""
    part = BinaryQuantiser(torch.tensor(bound, dtype=torch.float64), bound)
    signs = [-1, -1, -1, 1, 1, 1, 1, 1]
    assert part(POINTS).tolist() == [one * bound for one in signs]
    inside = [float(abs(x) <= bound) for x in POINTS.tolist()]
    assert slope(part, POINTS).tolist() == pytest.approx(inside, abs=1e-12)
    # Rescaled to a quarter, the layer has a fixed factor, which the chain rule keeps.
    quarter = BinaryQuantiser(torch.tensor(bound / 4, dtype=torch.float64), bound)
    assert quarter(POINTS).tolist() == [one * bound / 4 for one in signs]
    hand = [one / 4 for one in inside]
    assert slope(quarter, POINTS).tolist() == pytest.approx(hand, abs=1e-12)


def test_binary_activations() -> None:
    part = SignActivation()
    assert part(POINTS).tolist() == [-1, -1, -1, 1, 1, 1, 1, 1]
    assert slope(part, POINTS).tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("divided", [True, False])
def test_dorefa_weights_are_the_formula_and_their_gradient_that_without_rounding(
    bits: int, divided: bool
) -> None:
    weight = torch.randn(
        3, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    part = DorefaQuantiser(torch.tensor(1.0, dtype=torch.float64), bits, divided=divided)
    n = 2**bits - 1
    largest = max(abs(math.tanh(w)) for w in weight.flatten().tolist()) if divided else 1.0

    def smooth(w: float) -> float:
        return 0.5 * math.tanh(w) / largest + 0.5

    hand = [2 * round(smooth(w) * n) / n - 1 for w in weight.flatten().tolist()]
    assert torch.allclose(part(weight).flatten(), torch.tensor(hand, dtype=torch.float64))

    def unrounded(w: Tensor) -> Tensor:
        squashed = torch.tanh(w)
        return squashed / squashed.abs().max() if divided else squashed

    # Central differences of what is left when rounding is the identity.
    weights = torch.rand(weight.shape, dtype=torch.float64, generator=torch.Generator())
    found = slope(lambda w: part(w) * weights, weight).flatten()
    for place in range(weight.numel()):
        step = torch.zeros_like(weight).flatten()
        step[place] = 1e-6
        step = step.reshape(weight.shape)
        rise = (unrounded(weight + step) - unrounded(weight - step)) * weights
        assert float(found[place]) == pytest.approx(float(rise.sum()) / 2e-6, abs=1e-6)


def test_dorefa_of_one_bit_is_the_sign_times_the_mean_size_with_the_gradient_of_the_identity() -> (
    None
):
    part = DorefaSign.on(POINTS)
    mean = (1.5 + 1.0 + 0.4 + 0.3 + 1.0 + 1.2) / 8
    hand = [-mean, -mean, -mean, mean, mean, mean, mean, mean]
    assert part(POINTS).tolist() == pytest.approx(hand, abs=1e-12)
    assert slope(part, POINTS).tolist() == [1] * 8  # not clipped, and E takes no part
    codes = part.codes(part(POINTS))
    assert codes.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert torch.equal(part.decode(codes), part(POINTS))


def test_dorefa_of_one_bit_follows_the_weights_that_are_trained() -> None:
    layer = nn.Linear(2, 2, bias=False).double()
    attach(layer, DorefaSign.on(layer.weight.detach()))
    for values in ([[0.5, -1.5], [1.0, 2.0]], [[3.0, 3.0], [-3.0, 0.0]]):
        with torch.no_grad():
            layer.parametrizations.weight.original.copy_(torch.tensor(values))
        settle(layer)
        mean = sum(abs(v) for row in values for v in row) / 4
        hand = [mean if v >= 0 else -mean for row in values for v in row]
        assert layer.weight.flatten().tolist() == pytest.approx(hand, abs=1e-12)


def test_dorefa_activations() -> None:
    x = torch.tensor([-1.5, -0.6, 0.0, 0.1, 0.2, 0.5, 0.9, 1.0, 3.0], dtype=torch.float64)
    third = 1 / 3
    assert torch.allclose(
        DorefaActivation(2)(x),
        torch.tensor([1, 2 * third, 0, 0, third, 2 * third, 1, 1, 1], dtype=torch.float64),
    )
    clip = UnitClip()
    assert clip(x).tolist() == [1, 0.6, 0, 0.1, 0.2, 0.5, 0.9, 1, 1]
    for part in (clip, DorefaActivation(1), DorefaActivation(2)):
        assert slope(part, x).tolist() == [0, -1, 0, 1, 1, 1, 1, 1, 0]


def test_learned_steps_against_the_equations_of_the_paper() -> None:
    x = torch.tensor([-1.7, -1.0, -0.6, 0.2, 0.3, 0.5, 0.9], dtype=torch.float64)
    step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    low, high, factor = -2, 1, 0.125
    leaf = x.clone().requires_grad_()
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    found = learned_step(leaf, step, low, high, factor)
    of_x, of_step = torch.autograd.grad((found * weights).sum(), (leaf, step))
    values, slopes, steps = [], [], []
    for v in x.tolist():
        ratio = v / 0.5
        values.append(max(low, min(high, round(ratio))) * 0.5)  # equations 1 and 2
        slopes.append(1.0 if low < ratio < high else 0.0)  # equation 5
        inside = round(ratio) - ratio
        steps.append(inside if low < ratio < high else low if ratio <= low else high)  # equation 3
    assert found.tolist() == values
    assert of_x.tolist() == [s * w for s, w in zip(slopes, weights.tolist(), strict=True)]
    hand = factor * sum(s * w for s, w in zip(steps, weights.tolist(), strict=True))
    assert float(of_step) == pytest.approx(hand, abs=1e-12)


def test_scales_of_the_step_gradient_and_first_steps_are_those_of_the_paper() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    high = 3
    for channels, shared in ((False, 48), (True, 12)):
        part = LsqQuantiser.on(weight, 3, channels=channels)
        means = weight.abs().mean(dim=(1, 2, 3), keepdim=True) if channels else weight.abs().mean()
        assert torch.allclose(part.scale, 2 * means / math.sqrt(high))
        huge = torch.full_like(weight, 1e3)
        (found,) = torch.autograd.grad(part(huge).sum(), part.scale)
        # Every weight is at the highest code, so each adds Q_P.
        assert torch.allclose(
            found, torch.full_like(found, shared * high / math.sqrt(shared * high))
        )
    images = torch.full((5, 2, 3, 3), 1e3)
    activation = LsqActivation(torch.tensor(0.1), 2)
    (found,) = torch.autograd.grad(activation(images).sum(), activation.scale)
    assert float(found) == pytest.approx(5 * 18 * 3 / math.sqrt(18 * 3))


def test_pruned_weights_count_neither_in_the_first_step_nor_in_the_gradient_of_the_step() -> None:
    rows = [[0.0, 0.5, -1.5, 0.0], [0.0, 0.0, 0.0, 0.3], [0.0, 0.0, 0.0, 0.0]]
    weight, high = torch.tensor(rows, dtype=torch.float64), 7
    channel, layer = (LsqQuantiser.on(weight, 4, channels=one) for one in (True, False))
    hand = [2 * mean / math.sqrt(high) for mean in (1.0, 0.3)]
    assert channel.scale.flatten().tolist() == pytest.approx([*hand, 1.0], abs=1e-12)
    assert float(layer.scale.detach()) == pytest.approx(2 * (2.3 / 3) / math.sqrt(high), abs=1e-12)
    # With steps so small that every live weight is at a bound: Q_P for each above 0, Q_N below.
    for part in (channel, layer):
        part.scale.data.fill_(1e-3)
    (found,) = torch.autograd.grad(channel(weight).sum(), channel.scale)
    hand = [(high - 8) / math.sqrt(2 * high), high / math.sqrt(high), 0.0]
    assert found.flatten().tolist() == pytest.approx(hand, abs=1e-6)
    (found,) = torch.autograd.grad(layer(weight).sum(), layer.scale)
    assert float(found) == pytest.approx((2 * high - 8) / math.sqrt(3 * high), abs=1e-6)


def test_a_layer_of_zeros_stays_finite() -> None:
    weight = torch.zeros(2, 3)
    for part in (
        LsqQuantiser.on(weight, 2, channels=True),
        DorefaQuantiser(torch.tensor(1.0), 2, divided=True),
        DorefaSign.on(weight),
    ):
        assert part(weight).isfinite().all()
        assert slope(part, weight).isfinite().all()
    assert not LsqQuantiser.on(weight, 2, channels=True)(weight).any()


@pytest.mark.parametrize("part", [SignActivation(), UnitClip(), DorefaActivation(2)])
def test_little_gradient_is_lost_on_what_leaves_a_relu(part: nn.Module) -> None:
    x = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) - 0.3
    after = torch.relu(x)
    lost = (slope(part, after) == 0) & (after > 0)
    assert lost.float().mean() < 0.05
