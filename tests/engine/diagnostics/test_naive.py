"""The naive attack beside the adaptive one: its gradient, its numbers and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.attacks import run_attack
from engine.attacks.losses.objectives import log_odds
from engine.catalog.worst_case import WORST_CASE
from engine.diagnostics import Checked, naive_flags, naive_numbers, naive_rival, naive_search
from engine.diagnostics.naive import PlainLoss
from engine.diagnostics.view_choice import naive_view
from engine.specs.choices import AttackSpec, make_attack
from engine.specs.threat_models import threat_models


def naive(tried: int, broken: list[int], missed: list[int], images: int = 100) -> Checked:
    return Checked("pgd", "naive pgd", tried, broken, "", missed, True, True, images)


# --- the plain loss ---


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_log_odds_through_it_have_the_gradient_of_the_cross_entropy(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(50, 7, generator=generator, dtype=torch.float64)
    labels = logits.argmax(dim=1)  # what an attack climbs before it has won
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(log_odds(PlainLoss(nn.Identity())(leaf), labels).sum(), leaf)
    (expected,) = torch.autograd.grad(F.cross_entropy(leaf, labels, reduction="sum"), leaf)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_where_float32_has_no_cross_entropy_left_there_is_no_gradient() -> None:
    logits = torch.tensor([[0.0, 200.0, 20.0], [0.0, 5.0, 4.0]], requires_grad=True)
    labels = torch.tensor([1, 1])
    (found,) = torch.autograd.grad(log_odds(PlainLoss(nn.Identity())(logits), labels).sum(), logits)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), logits)
    assert not found[0].any()
    assert not theirs[0].any()
    assert found[1].all()


def test_only_attacks_that_climb_the_cross_entropy_are_given_the_plain_one() -> None:
    view = nn.Identity()
    plain = {"fgsm": {}, "pgd": {"steps": 20}, "apgd-ce": {}}
    for name, params in plain.items():
        attack = make_attack({"name": name, "eps": 0.1, **params})
        assert isinstance(naive_search(view, attack), PlainLoss), name
    others: list[dict[str, Any]] = [
        {"name": "apgd-dlr"},
        {"name": "apgd-t"},
        {"name": "autoattack"},
        # Weak ones, which are no evidence, are not taken for another kind.
        {"name": "apgd-dlr", "steps": 5},
        {"name": "fab-t", "steps": 5},
        {"name": "pgd", "steps": 5, "targets": 1},
        {"name": "torchattacks.FAB"},
    ]
    for table in others:
        assert naive_search(view, make_attack({"eps": 0.1, **table})) is view, table


@pytest.mark.parametrize(("second", "plain"), [("square", True), ("fgsm", True), ("fab-t", False)])
def test_a_worst_case_climbs_what_its_attacks_with_a_gradient_do(second: str, plain: bool) -> None:
    attacks = [make_attack({"name": name, "eps": 0.1}) for name in ("pgd", second)]
    (ball,) = threat_models(attacks)
    searched = naive_search(nn.Identity(), AttackSpec(name=WORST_CASE, params=ball))
    assert isinstance(searched, PlainLoss) == plain


def test_large_logits_stop_the_naive_attack_alone() -> None:
    """A linear classifier of two classes: the sign step is right wherever there is a gradient."""
    weight = torch.tensor([[1.0] * 16, [-1.0] * 16])
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    model[1].weight.data = 1000 * weight
    images = torch.full((3, 1, 4, 4), 0.1)
    labels = torch.zeros(3, dtype=torch.int64)
    model[1].bias = nn.Parameter(torch.tensor([-1.0, 1.0]) * 1000 * 16 * 0.05)
    attack = make_attack({"name": "fgsm", "eps": 0.08})
    assert run_attack(model, images, labels, attack).broken.all()
    view = naive_search(model, attack)
    assert not run_attack(model, images, labels, attack, view=view).broken.any()


# --- whom it is made for ---


def test_it_is_made_of_attacks_that_follow_a_gradient_in_a_ball() -> None:
    made = naive_rival(make_attack({"name": "pgd", "eps": 0.1}))
    assert made is not None
    assert (made.wanted, made.everyone, made.label) == (True, True, f"naive {made.attack.label}")
    assert naive_rival(make_attack({"name": "square", "eps": 0.1})) is None
    assert naive_rival(make_attack({"name": "ddn"})) is None


def test_it_searches_what_the_gate_would_not() -> None:
    view, bare = nn.Identity(), nn.Flatten()
    assert naive_view(view, None, ()) is None
    assert naive_view(view, None, ("one-by-one",)) is None
    assert naive_view(view, None, ("straight-through",)) is view
    assert naive_view(view, None, ("averaged",)) is view
    assert naive_view(view, bare, ("averaged",)) is bare
    alone = naive_view(view, bare, ("one-by-one", "averaged"))
    assert alone is not None
    assert next(iter(alone.children())) is bare


# --- what is said ---


def test_what_only_the_adaptive_attack_breaks_is_false_robustness() -> None:
    check = naive(tried=10, broken=[1], missed=list(range(20, 60)))
    (flag,) = naive_flags([check])
    assert (flag.id, flag.level) == ("false-robustness", "info")
    assert "leaves 49.0 % of 100 images" in flag.text
    assert "that does 10.0 %: 39.0 points" in flag.text
    assert "Quote the lower number" in flag.text
    assert naive_numbers([check]) == {"n": 100, "held": 49, "adaptive": 10}


def test_a_naive_attack_that_is_stronger_is_a_danger() -> None:
    (flag,) = naive_flags([naive(tried=40, broken=list(range(20)), missed=[])])
    assert (flag.id, flag.level) == ("naive-stronger", "danger")
    assert "leaves 20.0 % of 100 images, the one that does 40.0 %" in flag.text


@pytest.mark.parametrize(("broken", "missed"), [([], []), ([1], [2, 3, 4]), ([1, 2, 3], [4])])
def test_what_chance_explains_is_not_flagged(broken: list[int], missed: list[int]) -> None:
    assert naive_flags([naive(50, broken, missed)]) == []


def test_one_that_could_not_be_made_says_why_and_no_number() -> None:
    failed = Checked("pgd", "naive pgd", 0, [], "no gradient.", naive=True)
    assert naive_flags([failed]) == []
    assert naive_numbers([failed]) == {"reason": "no gradient."}
    assert naive_numbers([Checked("square", "square", 5, [])]) == {}
