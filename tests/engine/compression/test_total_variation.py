"""Total variation minimisation: closed forms, and the minimum itself."""

from __future__ import annotations

import pytest
import torch

from engine.compression.parts.total_variation import TotalVariation, smoothest
from engine.evaluation.guard import forked_rng

WEIGHT = 0.03


def objective(z: torch.Tensor, x: torch.Tensor, kept: torch.Tensor, weight: float) -> torch.Tensor:
    """(N) by definition, pixel by pixel."""
    below, right = torch.zeros_like(z), torch.zeros_like(z)
    below[:, :, :-1], right[..., :-1] = z[:, :, 1:] - z[:, :, :-1], z[..., 1:] - z[..., :-1]
    error = 0.5 * (kept * (z - x).square()).sum(dim=(1, 2, 3))
    return error + weight * torch.hypot(below, right).sum(dim=(1, 2, 3))


def picture(seed: int = 0, side: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    steps = (torch.arange(side) >= side // 2).double().expand(1, 2, side, side)
    return steps * 0.6 + 0.2 + 0.05 * torch.randn(1, 2, side, side, generator=generator).double()


def mask(share: float, side: int = 12) -> torch.Tensor:
    drawn = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(5))
    return (drawn >= share).double()


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize(("left", "right"), [(3, 5), (1, 1)])
def test_a_step_of_one_line_loses_the_weight_over_its_length_at_each_side(
    vertical: bool, left: int, right: int
) -> None:
    line = torch.cat([torch.full((left,), 0.2), torch.full((right,), 0.8)]).double()
    expected = torch.cat(
        [
            torch.full((left,), 0.2 + WEIGHT / left),
            torch.full((right,), 0.8 - WEIGHT / right),
        ]
    )
    shape = (1, 1, -1, 1) if vertical else (1, 1, 1, -1)
    found = smoothest(line.reshape(shape), torch.ones_like(line).reshape(shape), WEIGHT)
    assert found.flatten().tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_two_pixels_that_are_near_become_one() -> None:
    pair = torch.tensor([0.5, 0.5 + 1.9 * WEIGHT]).double().reshape(1, 1, 1, 2)
    found = smoothest(pair, torch.ones_like(pair), WEIGHT)
    assert found.flatten().tolist() == pytest.approx([float(pair.mean())] * 2, abs=1e-3)


def test_a_dropped_pixel_between_two_equal_ones_becomes_like_them() -> None:
    line = torch.tensor([0.4, 0.9, 0.4]).double().reshape(1, 1, 1, 3)
    kept = torch.tensor([1.0, 0, 1]).double().reshape(1, 1, 1, 3)
    assert smoothest(line, kept, WEIGHT).flatten().tolist() == pytest.approx([0.4] * 3, abs=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_no_image_nearby_is_better(share: float) -> None:
    """The problem is convex, so what is a minimum nearby is one."""
    x, kept = picture(), mask(share)
    found = smoothest(x, kept, WEIGHT)
    least = float(objective(found, x, kept, WEIGHT))
    assert least < 0.9 * float(objective(x, x, kept, WEIGHT))
    generator = torch.Generator().manual_seed(1)
    for size in (0.1, 0.01, 0.003):
        around = found + size * torch.randn(200, *x.shape[1:], generator=generator).double()
        assert objective(around, x, kept, WEIGHT).min() > least * (1 - 0.01)
    for target in (x, torch.full_like(x, 0.5), x.mean(dim=3, keepdim=True).expand_as(x)):
        mixed = objective(torch.lerp(found, target, 0.05), x, kept, WEIGHT)
        assert mixed > least * (1 - 0.01)


def test_what_is_dropped_is_not_looked_at() -> None:
    x, kept = picture(), mask(0.5)
    other = torch.where(kept > 0, x, torch.rand_like(x))
    assert torch.equal(smoothest(x, kept, WEIGHT), smoothest(other, kept, WEIGHT))


def test_no_image_and_no_channel_looks_at_another() -> None:
    x, kept = torch.cat([picture(0), picture(1)]), torch.cat([mask(0.5), mask(0.0)])
    found = smoothest(x, kept, WEIGHT)
    assert torch.allclose(found[1:], smoothest(x[1:], kept[1:], WEIGHT), atol=1e-12)
    assert torch.allclose(found[:, :1], smoothest(x[:, :1], kept, WEIGHT), atol=1e-12)


def test_the_share_that_is_dropped_is_drawn_for_each_image() -> None:
    images = picture(0).float().expand(3, -1, -1, -1)
    part = TotalVariation(0.5, WEIGHT)
    with forked_rng(0):
        first, second = part(images), part(images)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    still = TotalVariation(0.0, WEIGHT)
    assert torch.equal(still(images), still(images))
