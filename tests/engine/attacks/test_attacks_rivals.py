"""Attempts towards one rival each (Gowal 2019): exact where a loss of all classes is not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.specs.choices import make_attack
from tests.helpers.attack_models import Wrapped, trained
from tests.helpers.closed_form import SHAPES, SHARP, Case, affine, check

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {},
    "pgd-l2": {},
    "apgd-ce": {"norm": "Linf"},
    "apgd-ce L2": {"norm": "L2"},
    "apgd-dlr": {"norm": "Linf"},
    "apgd-dlr L2": {"norm": "L2"},
}
CASES = ((False, 0.3, 1.0), (True, 0.5, 1.0), (True, 0.7, SHARP))
"""Whether the box cuts the ball, eps as a quantile of the distances, scale of the logits."""


@cache
def _affine(classes: int, shape: tuple[int, int, int], norm: str, box: bool) -> Case:
    return affine(classes, shape, norm, box=box)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_robust_accuracy_is_that_of_the_closed_form(
    classes: int, shape: tuple[int, int, int], name: str
) -> None:
    """The margin to one rival has the same gradient everywhere, and its climb ends at the best
    point of the ball; so no image is missed whose nearest class is among the targets."""
    norm = "L2" if name.endswith(("L2", "l2")) else "Linf"
    attack = {"name": name.split()[0], "steps": 20, "targets": classes - 1, **ATTACKS[name]}
    skipped = CASES[SHAPES.index(shape)]
    for box, share, scale in (case for case in CASES if case != skipped):
        check(attack, _affine(classes, shape, norm, box), share, scale=scale, misses=1)


def test_on_soft_logits_the_cross_entropy_climbs_to_the_wrong_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the targets and the scale are for: on soft logits the mixture of rivals misses."""
    model, images, labels, distance = _affine(10, SHAPES[1], "Linf", False)
    eps = float(distance[distance > 0].quantile(0.5))
    plain = {"name": "pgd", "eps": eps, "restarts": 8}
    reachable = distance < eps * 0.9999
    scaled = reachable & ~run_attack(model, images, labels, plain).broken
    monkeypatch.setattr(
        "engine.attacks.search.search.factors", lambda spans: (spans == spans).float()
    )
    missed = reachable & ~run_attack(model, images, labels, plain).broken
    assert missed.sum() > 2
    assert scaled.sum() <= 1


@pytest.mark.parametrize("name", ["pgd", "pgd-l2", "apgd-ce", "apgd-dlr"])
def test_every_rival_gets_all_steps_of_every_restart(name: str) -> None:
    model, images, labels = trained()
    images, labels = images[:40], labels[:40]
    spec = {"name": name, "eps": 0.02, "steps": 7, "restarts": 2, "targets": 3}
    result = run_attack(model, images, labels, spec)
    held = ~result.broken
    assert held.sum() > 20
    assert (result.backwards[held] == 7 * 2 * 3).all()
    assert result.curve[-1].step == 7 * 2 * 3


class _Steep(nn.Module):
    """Three rivals, of which the one with the lowest logit is the nearest by far."""

    def forward(self, images: Tensor) -> Tensor:
        moved = (images - 0.5).flatten(1).sum(dim=1, keepdim=True)
        return moved * torch.tensor([0.0, 0.0, 0.0, 40.0]) - torch.tensor([0.0, 3.0, 4.0, 9.0])


def test_the_last_rivals_are_climbed_too() -> None:
    images, labels = torch.full((5, 1, 4, 4), 0.5), torch.zeros(5, dtype=torch.int64)
    eps = 1.01 * 9 / (40 * 16)
    for count, broken in ((1, 0), (2, 0), (3, 5)):
        spec = {"name": "pgd", "eps": eps, "targets": count, "random_start": False}
        assert int(run_attack(_Steep(), images, labels, spec).broken.sum()) == broken


def test_without_a_random_start_every_rival_is_tried_once() -> None:
    model, images, labels, distance = _affine(4, (1, 8, 8), "Linf", False)
    eps = float(distance[distance > 0].quantile(0.5))
    spec = {"name": "pgd", "eps": eps, "random_start": False, "restarts": 5, "targets": 3}
    result = run_attack(model, images, labels, {**spec, "steps": 20})
    assert torch.equal(result.broken, distance < eps)
    # A walk that has come to its corner ends early; five restarts of three would cost far more.
    assert (result.backwards[~result.broken] <= 3 * 20).all()
    assert any("Restarts were ignored" in note for note in result.notes)


def test_a_finish_in_fp32_tries_every_rival() -> None:
    case = _affine(10, (1, 8, 8), "Linf", False)
    model, images, labels, distance = case
    eps = float(distance[distance > 0].quantile(0.5))
    spec = {"name": "apgd-ce", "eps": eps, "steps": 40, "targets": 9}
    sharp = Wrapped(model, after=lambda logits: logits * SHARP)
    broken = run_attack(sharp, images, labels, spec, precision="bf16").broken
    sure = (distance - eps).abs() > 1e-4 * eps
    assert int((broken != (distance < eps))[sure].sum()) <= 1


def test_more_targets_than_rivals_are_noted() -> None:
    model, images, labels, _ = _affine(3, (1, 8, 8), "Linf", False)
    result = run_attack(model, images, labels, {"name": "apgd-dlr", "eps": 0.01, "targets": 9})
    assert result.notes == ("9 targets were asked for, but there are only 2.",)


def test_labels_tell_the_targets() -> None:
    assert make_attack({"name": "pgd", "targets": 1}).label == "pgd-40 8/255 1 target"
    spec = make_attack({"name": "apgd-ce", "restarts": 2, "targets": 9})
    assert spec.label == "apgd-ce-100 8/255 x2 9 targets"
