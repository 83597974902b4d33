"""Targeted FAB, and the shortest way to a hyperplane inside the box that it is built on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.attacks.geometry.hyperplane import to_hyperplane
from tests.helpers.apgd_cases import BALLS, Row, affine_case
from tests.helpers.attack_models import Wrapped, covers, trained


@pytest.mark.parametrize(("shape", "norm"), BALLS)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_affine_closed_form(classes: int, shape: tuple[int, int, int], norm: str) -> None:
    model, images, labels, radius = affine_case(classes, shape, norm)
    for share in (0.25, 0.6):
        eps = float(radius[radius > 0].quantile(share))
        spec = {"name": "fab-t", "eps": eps, "norm": norm, "steps": 12}
        result = run_attack(model, images, labels, spec)
        assert abs(int(result.broken.sum()) - int((radius < eps).sum())) <= 1
        assert not result.broken[radius > eps * 1.0001].any()
        assert any("targets" in note for note in result.notes) == (classes < 10)


def test_every_target_gets_its_turn() -> None:
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    spec = {"name": "fab-t", "eps": 0.3, "steps": 5}
    assert not run_attack(Row(), images, labels, {**spec, "targets": 1}).broken.any()
    two = run_attack(Row(), images, labels, {**spec, "targets": 2})
    assert two.broken_at_step.tolist() == [6, 6]


@pytest.mark.parametrize("beta", [0.9, 0.5])
def test_a_point_that_crossed_goes_back_and_the_next_starts_there(beta: float) -> None:
    model, images, labels, radius = affine_case(2, (2, 5, 3), "Linf")
    images, labels, radius = images[10:40], labels[10:40], radius[10:40]
    visited: list[Tensor] = []
    watch = Wrapped(model, before=lambda x: (x.requires_grad and visited.append(x.detach()), x)[1])
    spec = {"name": "fab-t", "eps": 1e-6, "steps": 2, "beta": beta}
    run_attack(watch, images, labels, spec)
    first, second = ((points - images).double().abs().flatten(1).amax(dim=1) for points in visited)
    assert torch.equal(first, torch.zeros_like(first))
    assert torch.allclose(second, 1.05 * beta * radius, rtol=1e-3)


def _plane(seed: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(5, size, generator=generator, dtype=torch.float64)
    points[:, :2] = points[:, :2].round()  # at the box
    normal = torch.randn(5, size, generator=generator, dtype=torch.float64)
    normal[:, size // 2] = 0.0
    return points, normal


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([3, 8, 20]), share=st.floats(-1.3, 1.3))
def test_linf_way_is_the_optimum_of_the_linear_program(seed: int, size: int, share: float) -> None:
    points, normal = _plane(seed, size)
    up = torch.where(normal > 0, 1 - points, -points)
    down = torch.where(normal > 0, -points, 1 - points)
    most = (normal * (up if share > 0 else down)).sum(dim=1)
    delta = to_hyperplane(points, normal, most * abs(share), "Linf")
    moved = points + delta
    assert ((moved >= -1e-12) & (moved <= 1 + 1e-12)).all()
    if abs(share) > 1:  # the whole box does not reach the plane: the farthest corner
        assert torch.allclose((normal * delta).sum(dim=1), most)
        return
    assert torch.allclose((normal * delta).sum(dim=1), most * abs(share), atol=1e-9)
    for point, slope, rise, found in zip(points, normal, most * abs(share), delta, strict=True):
        # min t with -t <= d <= t, the plane and the box.
        rows = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        answer = linprog(
            c=[0.0] * size + [1.0],
            A_ub=rows,
            b_ub=np.zeros(2 * size),
            A_eq=[[*slope.tolist(), 0.0]],
            b_eq=[float(rise)],
            bounds=[(-float(v), 1 - float(v)) for v in point] + [(0, None)],
        )
        assert float(found.abs().max()) == pytest.approx(answer.fun, abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([3, 8, 20]), share=st.floats(0, 0.99))
def test_l2_way_satisfies_the_optimality_conditions(seed: int, size: int, share: float) -> None:
    points, normal = _plane(seed, size)
    room = torch.where(normal > 0, 1 - points, -points)
    rise = (normal * room).sum(dim=1) * share
    delta = to_hyperplane(points, normal, rise, "L2")
    assert torch.allclose((normal * delta).sum(dim=1), rise, atol=1e-9)
    # Off the box every entry is the same multiple of its slope, at the box a smaller one.
    for slope, found, full in zip(normal, delta, room, strict=True):
        free = (slope != 0) & ((found - full).abs() > 1e-9)
        factors = (found / slope)[free]
        if len(factors):
            assert torch.allclose(factors, factors[0], atol=1e-7)
            assert ((found / slope)[(slope != 0) & ~free] <= factors[0] + 1e-7).all()
        assert float(found[slope == 0].abs().sum()) == 0.0


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_no_slope_means_no_way(norm: str) -> None:
    points = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    none = to_hyperplane(points, torch.zeros(2, 6), torch.tensor([1.0, -1.0]), norm)
    assert torch.equal(none, torch.zeros(2, 6, dtype=torch.float64))
    tiny = torch.full((2, 6), 1e-30)
    found = to_hyperplane(points, tiny, torch.full((2,), 1e-31), norm)
    assert torch.allclose((tiny.double() * found).sum(dim=1), torch.tensor(1e-31).double())


def _batch(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    model, images, labels = trained()
    return model, images[:count], labels[:count]


SPECS: list[dict[str, Any]] = [
    {"name": "fab-t", "norm": "Linf", "eps": 0.08, "steps": 10, "targets": 2},
    {"name": "fab-t", "norm": "L2", "eps": 0.5, "steps": 10, "targets": 2},
]


@pytest.mark.parametrize("spec", SPECS, ids=["Linf", "L2"])
def test_neither_batch_nor_order_matters(spec: dict[str, Any]) -> None:
    model, images, labels = _batch(30)
    whole = run_attack(model, images, labels, spec)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    mixed = run_attack(model, images[order], labels[order], spec)
    parts = [run_attack(model, images[i : i + 7], labels[i : i + 7], spec) for i in range(0, 30, 7)]
    assert 0 < int(whole.broken.sum()) < 30
    assert torch.equal(mixed.broken, whole.broken[order])
    assert torch.equal(torch.cat([part.broken for part in parts]), whole.broken)
    assert torch.allclose(mixed.adversarial, whole.adversarial[order], atol=1e-3)


@pytest.mark.parametrize("spec", SPECS, ids=["Linf", "L2"])
def test_only_mistakes_inside_the_ball_count(spec: dict[str, Any]) -> None:
    model, images, labels = _batch(40)
    seen: list[int] = []
    counting = Wrapped(model, before=lambda x: (seen.append(len(x)), x)[1])
    result = run_attack(counting, images, labels, spec)
    length = {"Linf": result.linf, "L2": result.l2}[spec["norm"]]
    assert (length <= spec["eps"] * (1 + 1e-6)).all()
    assert ((result.adversarial >= 0) & (result.adversarial <= 1)).all()
    assert torch.equal(model(result.adversarial).argmax(dim=1) != labels, result.broken)
    assert not result.notes, "a search outside the ball is no failure"
    assert covers(seen, int(result.forwards.sum()))
    assert (result.backwards[~result.broken] == 20).all()
    assert [point.step for point in result.curve] == list(range(21))
    assert result.curve[1].step_size > 0
    assert result.curve[-1].broken == int(result.broken.sum())


def test_finds_closer_mistakes_than_the_sign_gradient() -> None:
    model, images, labels = _batch(60)
    eps = 0.04
    fab = run_attack(model, images, labels, {"name": "fab-t", "eps": eps, "steps": 30})
    pgd = run_attack(model, images, labels, {"name": "pgd", "eps": eps, "steps": 40})
    assert int(fab.broken.sum()) >= int(pgd.broken.sum()) - 1


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_eps_zero_changes_nothing(norm: str) -> None:
    model, images, labels = _batch(10)
    spec = {"name": "fab-t", "eps": 0, "norm": norm, "steps": 3, "targets": 1}
    result = run_attack(model, images, labels, spec)
    assert torch.equal(result.adversarial, images)


def test_a_model_that_turns_to_nan_is_not_broken_by_it() -> None:
    model, images, labels = _batch(20)

    def nan_when_moved(batch: Tensor) -> Tensor:
        away = (batch.unsqueeze(1) - images.unsqueeze(0)).flatten(2).abs().amax(dim=2) > 0
        return torch.where(away.all(dim=1).view(-1, 1, 1, 1), torch.nan, batch)

    right = (model(images).argmax(dim=1) == labels).detach()
    spec = {"name": "fab-t", "eps": 0.3, "steps": 4}
    result = run_attack(Wrapped(model, before=nan_when_moved), images, labels, spec)
    assert torch.equal(result.broken, ~right)
    assert result.adversarial.isfinite().all()
