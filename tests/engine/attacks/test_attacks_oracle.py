"""Robust accuracy of attacks against classifiers whose robustness is known exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from tests.helpers.attack_models import Affine, Wrapped

ATTACKS = ("fgsm", "pgd", "torchattacks.PGD")
SHAPES = ((1, 4, 4), (3, 8, 8), (2, 5, 3))


def _case(classes: int, shape: tuple[int, int, int]) -> tuple[Affine, Tensor, Tensor, float]:
    """Images so far from the box that it never cuts the ball; some labels are wrong."""
    model = Affine(classes, shape, seed=classes)
    images = torch.rand(200, *shape, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3
    labels = model(images).argmax(dim=1)
    labels[:10] = (labels[:10] + 1) % classes
    radius = model.radius(images, labels)
    return model, images, labels, float(radius[radius > 0].median())


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_binary_affine_closed_form(shape: tuple[int, int, int], attack: str) -> None:
    model, images, labels, eps = _case(2, shape)
    result = run_attack(model, images, labels, {"name": attack, "eps": eps})
    radius = model.radius(images, labels)
    sure = (radius - eps).abs() > 1e-5  # the median image sits on the edge by construction
    assert sure.sum() >= 198
    assert torch.equal(result.broken[sure], (radius < eps)[sure])


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [3, 10])
def test_multiclass_affine_between_bounds(
    classes: int, shape: tuple[int, int, int], attack: str
) -> None:
    model, images, labels, eps = _case(classes, shape)
    # Sharp logits: the cross-entropy climbs towards the runner-up alone, whose distance bounds
    # the attack from above, as the nearest class bounds it from below.
    sharp = Wrapped(model, after=lambda logits: logits * 1000)
    result = run_attack(sharp, images, labels, {"name": attack, "eps": eps})
    radius = model.radius(images, labels)
    rivals = model(images).detach().scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    pair = model.linear.weight.detach()[labels] - model.linear.weight.detach()[rivals]
    gap = model(images).detach()
    gap = gap.gather(1, labels[:, None]) - gap.gather(1, rivals[:, None])
    runner_up = gap.squeeze(1) / pair.abs().sum(dim=1)
    assert not result.broken[radius > eps + 1e-5].any()
    reached = result.broken[runner_up < eps - 1e-5].float().mean()
    # A random start may change the runner-up; the library's cross-entropy saturates here.
    assert reached >= {"fgsm": 1.0, "pgd": 0.97, "torchattacks.PGD": 0.0}[attack]
    decided = (radius > eps + 1e-5) | (runner_up < eps - 1e-5)
    assert decided.float().mean() > 0.85


def test_saturated_cross_entropy_is_still_climbed() -> None:
    model, images, labels, eps = _case(2, (1, 4, 4))
    loud = Wrapped(model, after=lambda logits: logits * 1e6)
    plain = run_attack(model, images, labels, {"name": "pgd", "eps": eps, "steps": 5})
    result = run_attack(loud, images, labels, {"name": "pgd", "eps": eps, "steps": 5})
    assert torch.equal(result.broken, plain.broken)


@pytest.mark.parametrize(("attack", "size"), [("pgd", "step_size"), ("torchattacks.PGD", "alpha")])
def test_broken_at_step_is_the_distance_in_steps(attack: str, size: str) -> None:
    model, images, labels, _ = _case(2, (1, 4, 4))
    spec = {"name": attack, "eps": 0.2, "steps": 20, size: 0.01, "random_start": False}
    result = run_attack(model, images, labels, spec)
    assert result.broken.all()
    # Along the sign of the gradient the distance to the edge is the radius itself.
    walked = model.radius(images, labels) / 0.01
    clear = (walked % 1 - 0.5).abs() < 0.49
    assert clear.sum() > 150
    assert torch.equal(result.broken_at_step[clear], walked.ceil().long().clamp(min=0)[clear])
    assert result.broken_at_step.unique().numel() > 3


class _Band(nn.Module):
    """The gradient always says brighter, but class 0 is weakest in a narrow band of grey."""

    def __init__(self, inside: float) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, images: Tensor) -> Tensor:
        grey = images.flatten(1).mean(dim=1)
        outside = (grey - 0.55).abs().detach() > 0.006
        return torch.stack([torch.where(outside, 10.0, self.inside), grey], dim=1)


def test_a_broken_iterate_is_kept_though_the_walk_leaves_it() -> None:
    images, labels = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    shared = {"eps": 0.1, "steps": 10, "random_start": False}
    spec = {"name": "pgd", "step_size": 0.01, **shared}
    result = run_attack(_Band(0.0), images, labels, spec)
    assert result.broken_at_step.tolist() == [5, 5, 5]
    assert torch.allclose(result.adversarial, torch.tensor(0.55))
    # Never broken: the iterate of highest loss, with its own prediction and confidence.
    close = run_attack(_Band(2.0), images, labels, spec)
    assert not close.broken.any()
    assert torch.allclose(close.adversarial, torch.tensor(0.55))
    expected = torch.tensor([2.0, 0.55]).softmax(dim=0)[0]
    assert torch.allclose(close.adversarial_confidence, expected)
    # The library returns where the walk ends; what it passed by does not enter the curve.
    spec = {"name": "torchattacks.PGD", "alpha": 0.01, **shared}
    last = run_attack(_Band(0.0), images, labels, spec)
    assert not last.broken.any()
    assert {point.broken for point in last.curve} == {0}


def test_unbroken_images_return_the_iterate_of_highest_loss() -> None:
    model, images, labels, eps = _case(2, (1, 4, 4))
    small = eps / 4
    attack = {"name": "pgd", "eps": small, "steps": 10}
    result = run_attack(model, images, labels, attack)
    survived = ~result.broken
    delta = (result.adversarial - images)[survived]
    weight = model.linear.weight.detach()
    best = small * (weight[1 - labels] - weight[labels])[survived].sign().view_as(delta)
    assert torch.allclose(delta, best, atol=1e-6)


def test_restarts_attack_only_survivors() -> None:
    model, images, labels, eps = _case(2, (1, 4, 4))
    attack = {"name": "pgd", "eps": eps, "steps": 3, "restarts": 3}
    result = run_attack(model, images, labels, attack)
    survived = ~result.broken
    assert (result.backwards[survived] == 9).all()
    assert (result.backwards[result.broken] <= 3).all()
    assert (result.backwards[result.broken_at_step == 0] == 0).all()
    assert result.curve[-1].step == 9
