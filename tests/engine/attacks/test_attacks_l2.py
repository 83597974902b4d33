"""PGD in the L2 ball, and PGD as Foolbox runs it."""

from __future__ import annotations

import foolbox
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.attacks import AttackResult, run_attack
from engine.attacks.geometry.ball import Threat, l2_project
from engine.attacks.pgd_l2 import uniform_in_l2_ball, unit
from engine.attacks.search.search import Search
from tests.helpers.attack_models import Affine, Wrapped, trained
from tests.helpers.l2_cases import SHAPES, case, radius


@pytest.mark.parametrize("shape", SHAPES)
def test_binary_affine_closed_form(shape: tuple[int, int, int]) -> None:
    model, images, labels, middle = case(2, shape)
    distance = radius(model, images, labels)
    for eps in (0.5 * middle, middle, 2 * middle):
        assert eps < 0.4
        result = run_attack(model, images, labels, {"name": "pgd-l2", "eps": eps})
        sure = (distance - eps).abs() > 1e-5
        assert sure.sum() >= 198
        assert torch.equal(result.broken[sure], (distance < eps)[sure])
        assert (result.l2 <= eps * (1 + 1e-6)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [3, 4, 10])
def test_multiclass_affine_between_bounds(classes: int, shape: tuple[int, int, int]) -> None:
    model, images, labels, eps = case(classes, shape)
    sharp = Wrapped(model, after=lambda logits: logits * 1000)
    attack = {"name": "pgd-l2", "eps": eps, "random_start": False}
    result = run_attack(sharp, images, labels, attack)
    nearest = radius(model, images, labels)
    rival = radius(model, images, labels, nearest=False)
    assert not result.broken[nearest > eps + 1e-5].any()
    # Sharp logits climb towards the runner-up alone.
    assert int((~result.broken & (rival < eps - 1e-5)).sum()) <= 1
    assert ((nearest > eps) | (rival < eps)).float().mean() > 0.95


def _largest_change(weight: Tensor, images: Tensor, eps: float) -> Tensor:
    """Max of weight . delta over the ball cut by the box: clip(t weight), t by bisection."""
    flat = images.double().flatten(1)
    low, high = torch.zeros(len(flat), 1).double(), torch.full((len(flat), 1), 1e4).double()
    for _ in range(200):
        middle = (low + high) / 2
        inside = ((flat + middle * weight).clamp(0, 1) - flat).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return (((flat + low * weight).clamp(0, 1) - flat) * weight).sum(dim=1)


def test_the_box_does_not_cost_the_ball_its_length() -> None:
    """Half of the pixels lie at the edge of the box, as in drawings on black."""
    shape, eps = (1, 6, 6), 0.25
    model = Affine(2, shape, seed=3)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(2))
    images[images < 0.3], images[images > 0.8] = 0.0, 1.0
    labels = model(images).argmax(dim=1)
    result = run_attack(model, images, labels, {"name": "pgd-l2", "eps": eps})
    logits = model(images).detach().double()
    gap = logits.gather(1, labels[:, None]) - logits.gather(1, 1 - labels[:, None])
    weight = model.linear.weight.detach().double()
    reach = _largest_change(weight[1 - labels] - weight[labels], images, eps) - gap.squeeze(1)
    assert 40 < result.broken.sum() < 160
    assert int((result.broken != (reach > 0)).sum()) <= 1


@given(seed=st.integers(0, 500), eps=st.floats(0, 20), spread=st.sampled_from([1e-3, 1.0, 1e6]))
def test_projection_stays_in_ball_and_box(seed: int, eps: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 5, 7, generator=generator)
    images[images < 0.2], images[images > 0.8] = 0.0, 1.0
    points = images + spread * torch.randn(images.shape, generator=generator)
    pulled = l2_project(images, points, eps)
    assert Threat("L2", eps).holds(images, pulled).all()
    boxed = points.clamp(0, 1)
    length = (boxed.double() - images.double()).flatten(1).norm(dim=1)
    inside = length <= eps
    assert torch.equal(pulled[inside], boxed[inside])
    reached = (pulled.double() - images.double()).flatten(1).norm(dim=1)
    assert ((reached - eps).abs() <= 1e-5)[~inside].all()


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e30])
def test_directions_have_length_one_at_any_scale(scale: float) -> None:
    gradient = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * scale
    gradient[3] = 0.0
    lengths = unit(gradient).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.tensor([1.0, 1, 1, 0, 1]), atol=1e-5)


def _search(images: Tensor, labels: Tensor) -> Search:
    model = Affine(2, tuple(images.shape[1:]))
    threat = Threat("L2", 1.0)
    return Search(model, model, images, labels, threat, seed=0, observer=None, should_stop=None)


def test_random_starts_fill_the_ball_evenly() -> None:
    images = torch.rand(4000, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    search = _search(images, torch.zeros(4000, dtype=torch.int64))
    drawn = uniform_in_l2_ball(search, torch.arange(4000), 0).flatten(1)
    # In three dimensions the cube of the length is uniform, and so is every coordinate's sign.
    volume = drawn.norm(dim=1).pow(3).sort().values
    assert (volume - torch.linspace(0, 1, 4000)).abs().max() < 0.03
    assert drawn.mean(dim=0).abs().max() < 0.03
    assert torch.cov(drawn.T).allclose(torch.eye(3) / 5, atol=0.015)
    again = uniform_in_l2_ball(search, torch.arange(4000), 1).flatten(1)
    assert (again - drawn).norm(dim=1).min() > 0


@pytest.mark.parametrize("attack", ["pgd-l2", "fb-pgd"])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_batch_size_and_order_do_not_matter(attack: str, size: int) -> None:
    model, images, labels = trained()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    spec = {"name": attack, "eps": {"pgd-l2": 0.6, "fb-pgd": 0.2}[attack], "steps": 10}
    whole = run_attack(model, images[:40], labels[:40], spec, seed=5)
    assert 4 < whole.broken.sum() < 36
    parts = [
        run_attack(model, images[rows], labels[rows], spec, seed=5) for rows in order.split(size)
    ]
    for field in ("broken", "forwards", "backwards", "broken_at_step"):
        joined = torch.cat([getattr(part, field) for part in parts])
        assert torch.equal(joined, getattr(whole, field)[order]), field
    # Lengths of gradients, unlike their signs, feel how a batch is summed up.
    joined = torch.cat([part.adversarial for part in parts])
    assert torch.allclose(joined, whole.adversarial[order], atol=1e-4)


def test_restarts_attack_only_survivors() -> None:
    model, images, labels = trained()
    attack = {"name": "pgd-l2", "eps": 0.6, "steps": 5, "restarts": 3}
    result = run_attack(model, images[:60], labels[:60], attack)
    once = run_attack(model, images[:60], labels[:60], {**attack, "restarts": 1})
    assert (result.backwards[~result.broken] == 15).all()
    assert torch.equal(result.broken | once.broken, result.broken)
    assert (result.backwards[once.broken] <= 5).all()


def _foolbox(
    attack: foolbox.attacks.base.Attack, eps: float, count: int = 150
) -> tuple[Tensor, Tensor]:
    """Raw examples of the library and whether they are misclassified."""
    model, images, labels = trained()
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    raw, _, broken = attack(wrapped, images[:count], labels[:count], epsilons=eps)
    return raw.detach(), broken


def _own(spec: dict[str, object], count: int = 150) -> AttackResult:
    model, images, labels = trained()
    return run_attack(model, images[:count], labels[:count], spec)


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_foolbox_walks_the_same_way(eps: float) -> None:
    raw, broken = _foolbox(foolbox.attacks.LinfPGD(random_start=False), eps)
    own = _own({"name": "fb-pgd", "eps": eps, "random_start": False})
    assert int((own.broken != broken).sum()) <= 1
    attacked = own.broken_at_step != 0
    # Another rounding can turn the sign of an entry near zero, and the walks part.
    same = (own.adversarial - raw)[attacked].flatten(1).abs().amax(dim=1) < 1e-5
    assert same.float().mean() > 0.75
    assert (own.backwards[attacked] == 40).all()


def test_foolbox_l2_is_not_stronger() -> None:
    for eps in (0.4, 0.8):
        attack = foolbox.attacks.L2PGD(random_start=False, rel_stepsize=0.025, steps=50)
        _, broken = _foolbox(attack, eps)
        shared = {"eps": eps, "steps": 50, "step_size": 0.025 * eps, "random_start": False}
        own = _own({"name": "pgd-l2", **shared})
        assert own.broken.sum() >= broken.sum()


class _Band(torch.nn.Module):
    """The gradient always says brighter, but class 0 is weakest in a band of grey."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, images: Tensor) -> Tensor:
        grey = images.flatten(1).mean(dim=1)
        band = ((grey > self.low) & (grey < self.high)).detach()
        return torch.stack([torch.where(band, 0.0, 10.0), grey], dim=1)


def test_foolbox_counts_only_where_the_walk_ends() -> None:
    images, labels = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    spec = {"name": "fb-pgd", "eps": 0.1, "steps": 10, "rel_stepsize": 0.1, "random_start": False}
    passed = run_attack(_Band(0.525, 0.565), images, labels, spec)
    assert not passed.broken.any()
    assert torch.allclose(passed.adversarial, torch.tensor(0.6))
    assert {point.broken for point in passed.curve} == {0}
    # Misclassified from the seventh step (0.57) on, but judged only at the end.
    ended = run_attack(_Band(0.565, 1.0), images, labels, spec)
    assert ended.broken_at_step.tolist() == [7, 7, 7]
    assert [point.broken for point in ended.curve] == [0] * 7 + [3] * 4


@pytest.mark.parametrize("attack", ["pgd-l2", "fb-pgd"])
def test_eps_zero_is_the_identity(attack: str) -> None:
    model, images, labels = trained()
    result = run_attack(model, images[:20], labels[:20], {"name": attack, "eps": 0})
    assert torch.equal(result.adversarial, images[:20])
    assert torch.equal(result.broken, model(images[:20]).argmax(dim=1) != labels[:20])
    assert not result.notes
