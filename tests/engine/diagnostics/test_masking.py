"""Models that hide their gradients, one by one: each is flagged, the healthy ones are not.

The first table is of the detector alone, on the view as it is. The second is of the rescue:
where a twin is searched instead, what looked robust breaks like the network underneath.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from engine.attacks import run_attack
from engine.data import ImageSet, load
from engine.diagnostics import (
    Checked,
    ViewChoice,
    choose_view,
    examine,
    survivor_flags,
    survivor_rivals,
    wrapped,
)
from engine.errors import AttackError
from engine.specs.choices import make_attack
from engine.specs.dataset import DatasetSpec
from tests.helpers.masked_models import MASKED, net, winners_take_all

ATTACK = make_attack({"name": "pgd", "eps": 0.15, "steps": 20})

DETECTED: dict[str, set[str]] = {
    "input rounded": {"zero-gradient", "unconstrained-survives"},
    "input as bytes": {"no-gradient"},
    "activations rounded": {"zero-gradient", "unconstrained-survives"},
    "int8 without straight-through": {"zero-gradient", "unconstrained-survives"},
    "logits x 1000": {"saturated-loss", "logit-scale"},
    "detached forward": {"no-gradient"},
    "dropout at test": {"random-output"},
    "softmax output": {"probabilities"},
    "k-winners-take-all": {"secants-disagree", "black-box-stronger"},
}

RESCUED: dict[str, tuple[str, ...]] = {
    "input rounded": ("straight-through",),
    "input as bytes": ("straight-through",),
    "activations rounded": ("straight-through",),
    "int8 without straight-through": ("straight-through",),
    "detached forward": ("straight-through",),
    "dropout at test": ("averaged",),
}
NOTES = {"straight-through": "straight-through-view", "averaged": "averaged-view"}


@cache
def images() -> ImageSet:
    return load(DatasetSpec(name="digits", limit=64), seed=0)


@cache
def model(case: str) -> nn.Module:
    torch.manual_seed(0)
    return MASKED[case]()


@cache
def choice(case: str) -> ViewChoice:
    return choose_view(model(case), model(case), images().images, images().labels)


def flags(model: nn.Module) -> dict[str, str]:
    """What the gate and the gradient-free check say, without a twin."""
    test = images()
    found = list(examine(model, model, test.images, test.labels).flags)
    rival = survivor_rivals(ATTACK, (), doubted=True)[0].attack
    try:
        whitebox = run_attack(model, test.images, test.labels, ATTACK).broken
    except AttackError:
        return {flag.id: flag.level for flag in found}
    left = ~whitebox
    broken = run_attack(model, test.images[left], test.labels[left], rival).broken
    check = Checked("square", "square", len(broken), broken.nonzero().flatten().tolist())
    return {one.id: one.level for one in [*found, *survivor_flags([check])]}


def broken(model: nn.Module, view: nn.Module) -> int:
    test = images()
    return int(run_attack(model, test.images, test.labels, ATTACK, view=view).broken.sum())


@cache
def truth() -> int:
    """How many images the network underneath loses; the same for every case."""
    return broken(net(), net())


def test_both_tables_name_the_cases() -> None:
    assert DETECTED.keys() == MASKED.keys()
    assert RESCUED.keys() < MASKED.keys()


@pytest.mark.parametrize("case", MASKED)
def test_masked_models_are_flagged(case: str) -> None:
    assert DETECTED[case] <= set(flags(model(case)))


@pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"])
def test_healthy_models_are_not(name: str) -> None:
    assert flags(net(name)) == {}


@pytest.mark.parametrize("case", RESCUED)
def test_a_rescued_model_breaks_like_the_network_underneath(case: str) -> None:
    found = choice(case)
    assert found.twins == RESCUED[case]
    levels = {flag.id: flag.level for flag in found.report.flags}
    assert levels.pop(NOTES[found.twins[0]]) == "info"
    assert set(levels) <= {"random-output"}, "what is true of the deployed model stays"
    if found.random:
        check_draws(case, found.twins)
    else:
        assert broken(model(case), wrapped(model(case), found.twins)) >= truth() - 2


def check_draws(case: str, twins: tuple[str, ...]) -> None:
    """Of a random model one fresh draw counts, so the count is that of draws, give or take."""
    test, random = images(), model(case)
    view = wrapped(random, twins)
    result = run_attack(random, test.images, test.labels, ATTACK, view=view)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        draws = [random(result.adversarial).argmax(dim=1) != test.labels for _ in range(41)]
    share = torch.stack(draws).double().mean(dim=0)
    deviation = float((share * (1 - share)).sum()) ** 0.5
    assert abs(int(result.broken.sum()) - float(share.sum())) <= 4 * deviation
    assert int((share > 0.5).sum()) >= 0.8 * truth(), "what is broken more often than not"


@pytest.mark.parametrize("case", sorted(MASKED.keys() - RESCUED.keys()))
def test_where_no_twin_helps_the_flags_stay(case: str) -> None:
    found = choice(case)
    assert found.twins == ()
    assert DETECTED[case] - {"black-box-stronger"} <= {flag.id for flag in found.report.flags}


@pytest.mark.parametrize("name", ["digits-resnet", "digits-resnet-at"])
def test_healthy_models_are_searched_as_they_are(name: str) -> None:
    found = choose_view(net(name), net(name), images().images, images().labels, net(name))
    assert found == ViewChoice(
        (), examine(*[net(name)] * 2, images().images, images().labels, net(name))
    )
    assert not found.report.flags


def test_winners_take_all_looks_robust_to_gradients_and_is_not() -> None:
    test, masked = images(), winners_take_all()
    right = masked(test.images).argmax(dim=1) == test.labels
    assert right.float().mean() > 0.85, "it is a classifier"
    square = {"name": "square", "eps": 0.15, "n_queries": 2000}
    truth = int(run_attack(masked, test.images, test.labels, square).broken.sum())
    assert truth > 0.9 * len(test.labels)
    assert broken(masked, masked) < 0.7 * len(test.labels)
