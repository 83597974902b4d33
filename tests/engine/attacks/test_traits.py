"""What the catalogue says of each attack is what the attack does, in both directions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog
from engine.attacks import AttackResult, autoattack, run_attack
from engine.attacks.geometry.ball import Threat
from engine.catalog.entry import AttackEntry
from engine.specs.choices import AttackSpec, make_attack
from tests.helpers.attack_budgets import with_budgets
from tests.helpers.attack_models import Wrapped, trained

ATTACKS = list(catalog.section("attacks"))
LIBRARY = "torchattacks."
BUDGETS = {
    "steps": 6,
    "num_iter_set": 6,
    "n_queries": 30,
    "targets": 2,
    "binary_search_steps": 2,
    "max_iterations": 10,
    "restarts": 2,
    "n_restarts": 1,
}
"""Small ones; what they multiply stays as it is."""
SPECIAL: dict[str, dict[str, Any]] = {
    "APGD": {"eps": 0.2},
    "APGDT": {"eps": 0.2},
    "AutoAttack": {"eps": 0.3},
    "JSMA": {"gamma": 0.05},
    "OnePixel": {"steps": 2},
    "SparseFool": {"steps": 1},
    "SPSA": {"nb_sample": 16},
    "Square": {"eps": 0.5, "n_queries": 60},
}
"""Of the library: those that give the clean image back where they fail need room to succeed."""
RESTARTED = {"restarts"}
"""Restarts of our own attacks are attempts; Pixle counts its queries in them."""


def spec_of(id_: str, **changes: Any) -> AttackSpec:
    """A cheap setting of an attack that leaves its kind of search as it is."""
    fields = catalog.find("attacks", id_).params.model_fields
    own = not id_.startswith(LIBRARY)
    given: dict[str, Any] = {
        name: value
        for name, value in BUDGETS.items()
        if name in fields and not (own and name in RESTARTED)
    }
    radius, length = ("eps", "steps") if "eps" in fields else ("max_epsilon", "num_iter_set")
    if radius in fields:
        given[radius] = 0.6 if catalog.find("attacks", id_).norm == "L2" else 0.06
    if not own:
        given |= SPECIAL.get(id_.removeprefix(LIBRARY), {})
    words = {"eps": radius, "steps": length}
    changes = {words.get(name, name): value for name, value in changes.items()}
    return make_attack({"name": id_, **given, **changes})


def colour(count: int) -> tuple[Wrapped, Tensor, Tensor]:
    """Images in three channels, as some attacks need them, of which the model sees the mean."""
    model, images, _ = trained()
    coloured = Wrapped(model, before=lambda x: x.mean(dim=1, keepdim=True))
    images = images[:count]
    return coloured, images.repeat(1, 3, 1, 1), model(images).argmax(dim=1)


def entry(id_: str) -> AttackEntry:
    found = catalog.find("attacks", id_)
    assert isinstance(found, AttackEntry)
    return found


def run(id_: str, seed: int = 0, **changes: Any) -> AttackResult:
    torch.manual_seed(0)
    model, images, labels = colour(4)
    return run_attack(model, images, labels, spec_of(id_, **changes), seed=seed)


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = autoattack.parts
    monkeypatch.setattr(
        "engine.attacks.autoattack.parts",
        lambda ball: tuple(with_budgets(one, BUDGETS) for one in parts(ball)),
    )


@pytest.mark.parametrize("id_", ATTACKS)
def test_gradients_and_seeds_are_as_stated(id_: str) -> None:
    first, second = run(id_), run(id_, seed=1)
    traits = entry(id_).traits
    assert ("gradient" in traits) == bool(first.backwards.sum())
    assert ("seeded" in traits) == (not torch.equal(first.adversarial, second.adversarial))
    if "single step" in traits:
        # One more on the first image shows that there is a gradient at all.
        assert first.backwards.max() <= 2
    if "iterative" in traits:
        assert first.backwards.min() >= 2, "no image but by some gradients"


@pytest.mark.parametrize("id_", ATTACKS)
def test_what_searches_in_fp32_does_so_whatever_is_asked(id_: str) -> None:
    model, images, labels = colour(1)
    result = run_attack(model, images, labels, spec_of(id_), precision="bf16")
    assert ("fp32" in entry(id_).traits) == (result.precision == "fp32")


@pytest.mark.parametrize("id_", ATTACKS)
def test_traits_go_together(id_: str) -> None:
    found = entry(id_)
    traits, default = found.traits, make_attack(id_)
    assert default.norm == found.norm
    assert ("no limit" not in traits) or default.eps is None
    # What looks for the closest example in a norm walks along a boundary.
    assert not Threat(default.norm, default.eps).boundless or {"no limit", "fp32"} <= traits
    assert ("open length" in traits) == id_.startswith(LIBRARY)
    assert not {"iterative", "single step"} & traits or "gradient" in traits
    assert not {"iterative", "single step"} <= traits
    assert "drops broken" not in traits or "iterative" in traits
    assert not {"finishes", "fp32"} <= traits
    assert found.norms == (() if not found.norm else found.norms)
    assert not found.norm or found.norm in found.norms


@pytest.mark.parametrize("id_", ATTACKS)
def test_an_attack_takes_every_norm_that_it_states_and_no_other(id_: str) -> None:
    found = entry(id_)
    if "norm" not in found.params.model_fields:
        assert len(found.norms) <= 1
        return
    assert {make_attack({"name": id_, "norm": norm}).norm for norm in found.norms} == {"Linf", "L2"}


@pytest.mark.parametrize("id_", [one for one in ATTACKS if "iterative" in entry(one).traits])
def test_an_iterative_attack_shows_all_its_steps(id_: str) -> None:
    steps = 9
    model, images, labels = colour(2)
    curve = run_attack(model, images, labels, spec_of(id_, eps=1e-5, steps=steps)).curve
    assert len({point.step for point in curve}) >= steps
    assert curve[-1].step >= steps


@pytest.mark.parametrize(
    "id_",
    [one for one in ATTACKS if "iterative" in entry(one).traits and not one.startswith(LIBRARY)],
)
def test_broken_images_leave_where_it_says_so(id_: str) -> None:
    steps, far = 12, 10.0 if entry(id_).norm == "L2" else 1.0
    result = run(id_, eps=far, steps=steps)
    assert result.broken.all()
    assert ("drops broken" in entry(id_).traits) == bool(result.backwards.max() < steps)


@pytest.mark.parametrize(
    "id_", [one for one in ATTACKS if not entry(one).traits & {"fp32", "open length"}]
)
def test_what_finishes_makes_an_eighth_of_its_steps_again(id_: str) -> None:
    if entry(id_).parts:
        return  # of parts each has traits of its own
    steps = 16
    model, images, labels = colour(3)
    table: dict[str, Any] = {"eps": 1e-5}
    table |= {"steps": steps} if "steps" in entry(id_).params.model_fields else {}
    once = run_attack(model, images, labels, spec_of(id_, **table)).backwards.sum()
    both = run_attack(model, images, labels, spec_of(id_, **table), precision="bf16").backwards
    again = math.ceil(once / 8) if "finishes" in entry(id_).traits else once
    assert both.sum() == once + again


class Waves(nn.Module):
    """Ten classes whose logits are waves of the mean: examples come and go on every way."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3)).unsqueeze(1)
        classes = torch.arange(10.0)
        logits = torch.sin((37 + 11 * classes) * mean + classes) * 3
        self.seen.append((images.detach().clone(), logits.detach().clone()))
        return logits


def met_and_lost(id_: str, **changes: Any) -> tuple[int, int]:
    """Of some images: how many met an example on the way, and how many of these did not break."""
    met = lost = 0
    spec = spec_of(id_, **({"eps": 0.2} if make_attack(id_).eps else {}), **changes)
    threat = Threat(spec.norm, spec.eps)
    for grey in torch.linspace(0.2, 0.8, 4):
        model, image = Waves().eval(), torch.full((1, 3, 8, 8), float(grey))
        label = model(image).argmax(dim=1)
        model.seen.clear()
        result = run_attack(model, image, label, spec)
        points = torch.cat([one for one, _ in model.seen if one.shape[1:] == image.shape[1:]])
        logits = torch.cat([one for images, one in model.seen if len(images) == len(one)])
        inside = threat.holds(image.expand_as(points), points)
        if (inside & (logits.argmax(dim=1) != label)).any():
            met += 1
            lost += not bool(result.broken)
    return met, lost


@pytest.mark.parametrize("id_", [one for one in ATTACKS if "keeps best" in entry(one).traits])
def test_what_keeps_the_best_loses_no_example(id_: str) -> None:
    met, lost = met_and_lost(id_)
    assert met or "single step" in entry(id_).traits
    assert not lost


def test_what_keeps_the_last_point_only_can_lose_one() -> None:
    assert "keeps best" not in entry("fb-pgd").traits
    assert met_and_lost("fb-pgd", rel_stepsize=0.7)[1]
    assert met_and_lost("torchattacks.PGD", alpha=0.15)[1]
