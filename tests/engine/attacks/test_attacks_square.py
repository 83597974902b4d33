"""Square: no gradients, a budget that holds, windows that reach everywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.square import L2Windows, LinfWindows, Square, eta
from engine.catalog.attacks.gradient_free import SquareParams
from tests.helpers.attack_models import Affine, Wrapped, covers, trained
from tests.helpers.l2_cases import case, radius

NORMS = {"Linf": 0.1, "L2": 0.6}


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise AssertionError("a black-box attack took a gradient")


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_is_taken_and_the_budget_holds(norm: str) -> None:
    model, images, labels = trained()
    images, labels = images[:40], labels[:40]
    seen: list[tuple[int, bool]] = []

    def watch(batch: Tensor) -> Tensor:
        seen.append((len(batch), batch.requires_grad or torch.is_grad_enabled()))
        result: Tensor = _NoBackward.apply(batch)
        return result

    watched = Wrapped(model, before=watch)
    spec = {"name": "square", "norm": norm, "eps": NORMS[norm], "n_queries": 80}
    # The view would fail at once: its output is cut off from the images.
    blind = Wrapped(model, after=lambda logits: logits.detach() * torch.nan)
    for precision in ("fp32", "bf16"):
        seen.clear()
        result = run_attack(watched, images, labels, spec, view=blind, precision=precision)
        assert covers([count for count, _ in seen], int(result.forwards.sum()))
        assert not any(graph for _, graph in seen)
        assert (result.backwards == 0).all()
        assert (result.forwards[~result.broken] == 1 + 80).all()
        assert (result.forwards == result.broken_at_step + 1)[result.broken].all()
        assert 2 < result.broken.sum() < 40
        assert result.precision == "fp32"
        assert len(result.notes) == (precision == "bf16")


@pytest.mark.usefixtures("no_second_look")
def test_images_that_are_done_cost_no_queries() -> None:
    """Idle rows that fill a batch up are asked for at every query, so there must be few."""
    model, images, labels = trained()
    images, labels = images[:100], model(images[:100]).argmax(dim=1)
    labels[70:] = (labels[70:] + 1) % 10
    sizes: list[int] = []

    def watch(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch

    spec = {"name": "square", "eps": 1e-4, "n_queries": 5}
    result = run_attack(Wrapped(model, before=watch), images, labels, spec)
    assert (~result.broken).sum() == 70
    assert sizes[0] == 100
    assert all(70 <= size <= 70 * (1 + 1 / 16) for size in sizes[1:])


@pytest.mark.parametrize(("shape", "queries"), [((1, 4, 6), 1000), ((3, 5, 7), 2500)])
def test_binary_affine_closed_form_linf(shape: tuple[int, int, int], queries: int) -> None:
    model, images, labels, _ = case(2, shape)
    distance = model.radius(images, labels)
    eps = float(distance[distance > 0].median())
    spec = {"name": "square", "eps": eps, "n_queries": queries}
    result = run_attack(model, images, labels, spec)
    # Single pixels come up after 500 changes, and every one of them can only help.
    assert int((result.broken != (distance < eps)).sum()) <= 1


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 7)])
@pytest.mark.parametrize("classes", [3, 4, 10])
def test_multiclass_affine_bounds_linf(classes: int, shape: tuple[int, int, int]) -> None:
    model, images, labels, _ = case(classes, shape)
    distance = model.radius(images, labels)
    eps = float(distance[distance > 0].median())
    spec = {"name": "square", "eps": eps, "n_queries": 400}
    result = run_attack(model, images, labels, spec)
    assert not result.broken[distance > eps + 1e-6].any()
    assert result.broken[distance < 0.7 * eps].float().mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 7)])
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_affine_bounds_l2(classes: int, shape: tuple[int, int, int]) -> None:
    model, images, labels, eps = case(classes, shape)
    distance = radius(model, images, labels)
    spec = {"name": "square", "norm": "L2", "eps": eps, "n_queries": 400}
    result = run_attack(model, images, labels, spec)
    assert not result.broken[distance > eps + 1e-6].any()
    assert result.broken[distance < 0.5 * eps].float().mean() > 0.8


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (4, 2, 2), (3, 5, 7), (1, 12, 4)])
def test_any_shape_stays_in_ball_and_box(shape: tuple[int, int, int], norm: str) -> None:
    model = Affine(2, shape, seed=1)
    images = torch.rand(5, *shape, generator=torch.Generator().manual_seed(3))
    images[images < 0.2], images[images > 0.8] = 0.0, 1.0
    labels = model(images).argmax(dim=1)
    spec = {"name": "square", "norm": norm, "eps": 0.3, "n_queries": 300}
    result = run_attack(model, images, labels, spec)
    length = result.linf if norm == "Linf" else result.l2
    assert (length <= 0.3 * (1 + 1e-6)).all()
    assert ((result.adversarial >= 0) & (result.adversarial <= 1)).all()
    assert not result.notes
    if norm == "Linf":
        lower, upper = linf_bounds(images, 0.3)
        found = result.adversarial
        assert ((found == lower) | (found == upper) | (found == images)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1, 7])
def test_batch_size_and_order_do_not_matter(norm: str, size: int) -> None:
    model, images, labels = trained()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    spec = {"name": "square", "norm": norm, "eps": NORMS[norm], "n_queries": 40}
    whole = run_attack(model, images[:20], labels[:20], spec, seed=5)
    parts = [
        run_attack(model, images[rows], labels[rows], spec, seed=5) for rows in order.split(size)
    ]
    for field in ("broken", "forwards", "broken_at_step"):
        joined = torch.cat([getattr(part, field) for part in parts])
        assert torch.equal(joined, getattr(whole, field)[order]), field
    other = run_attack(model, images[:20], labels[:20], spec, seed=6)
    assert not torch.equal(other.adversarial, whole.adversarial)


def test_the_schedule_is_the_unrescaled_one() -> None:
    reference = SquareAttack(None, n_queries=5000, p_init=0.8, resc_schedule=False)
    own = Square(SquareParams(eps=0.1))
    for change in range(10_000):
        assert own.share(change) == reference.p_selection(change)


@pytest.mark.parametrize("side", range(1, 16))
def test_bumps_are_those_of_the_reference_and_have_length_one(side: int) -> None:
    reference = SquareAttack(None, norm="L2", eps=1.0)
    reference.device = torch.device("cpu")
    with torch.random.fork_rng(devices=[]):
        theirs = reference.eta(side)
    bump = eta(side)
    assert torch.allclose(bump, theirs, atol=1e-6) or torch.allclose(bump.T, theirs, atol=1e-6)
    assert float(bump.norm()) == pytest.approx(1.0)


def test_stripes_then_squares_that_reach_every_corner() -> None:
    images = torch.full((400, 3, 4, 6), 0.5)
    windows = LinfWindows(images, 0.1)
    generator = torch.Generator().manual_seed(0)
    start = windows.start(torch.rand(400, *windows.start_size, generator=generator))
    assert torch.equal(start, start[:, :, :1].expand_as(start))
    assert start[:, 0, 0].ne(start[:, 1, 0]).any()
    assert torch.allclose((start - images).abs(), torch.tensor(0.1))
    tried = windows.propose(images, 0.2, torch.rand(400, windows.draw_size, generator=generator))
    changed = (tried != images).all(dim=1)
    side = 2  # round(sqrt(0.2 * 24))
    assert (changed.flatten(1).sum(dim=1) == side * side).all()
    assert torch.equal(changed, (tried != images).any(dim=1))
    rows, columns = changed.any(dim=2), changed.any(dim=1)
    assert (rows.sum(dim=1) == side).all()
    assert (columns.sum(dim=1) == side).all()
    assert rows.any(dim=0).all()
    assert columns.any(dim=0).all()
    signs = (tried - images).flatten(2).sum(dim=2).sign()
    assert len(signs.unique(dim=0)) == 8


def test_l2_windows_move_length_and_keep_the_whole() -> None:
    images = torch.full((300, 2, 9, 12), 0.5)
    windows = L2Windows(images, 0.4)
    generator = torch.Generator().manual_seed(0)
    start = windows.start(torch.rand(300, *windows.start_size, generator=generator))
    delta = start - images
    assert torch.allclose(delta.flatten(1).norm(dim=1), torch.tensor(0.4), atol=1e-5)
    tried = windows.propose(start, 0.1, torch.rand(300, windows.draw_size, generator=generator))
    moved = tried - images
    assert torch.allclose(moved.flatten(1).norm(dim=1), torch.tensor(0.4), atol=1e-5)
    # One 3x3 window is emptied (unless the gaining one covers it), the rest keeps its direction.
    emptied = (moved == 0).all(dim=1).flatten(1).sum(dim=1)
    assert (emptied <= 9).all()
    assert (emptied == 9).float().mean() > 0.5
    # Two windows are all that changes.
    kept = torch.isclose(moved, delta, atol=1e-5).all(dim=1).flatten(1).sum(dim=1)
    assert (kept >= 9 * 12 - 18).all()


def test_nan_is_no_success() -> None:
    model, images, _ = trained()
    right = model(images[:8]).argmax(dim=1)
    calls = [0]

    def spoil(logits: Tensor) -> Tensor:
        calls[0] += 1
        return logits if calls[0] == 1 else logits * torch.nan

    spec = {"name": "square", "eps": 0.9, "n_queries": 5}
    result = run_attack(Wrapped(model, after=spoil), images[:8], right, spec)
    assert not result.broken.any()
    assert torch.equal(result.adversarial, images[:8])
    assert result.notes[0].startswith("Attack failure on 8 images")


def test_a_gradient_free_attack_sees_through_a_model_without_gradients() -> None:
    """Rounding the input hides the gradient from PGD; random search does not notice."""
    model, images, labels = trained()
    images, labels = images[:60], labels[:60]
    rounded: nn.Module = Wrapped(model, before=lambda x: (x * 8).round() / 8)
    square = run_attack(rounded, images, labels, {"name": "square", "eps": 0.15, "n_queries": 300})
    pgd = run_attack(rounded, images, labels, {"name": "pgd", "eps": 0.15, "random_start": False})
    assert square.broken.sum() > pgd.broken.sum() + 5
