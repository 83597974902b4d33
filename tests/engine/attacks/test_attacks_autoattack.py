"""AutoAttack: four parts in order, each on the survivors, at the reference settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.attacks import autoattack, run_attack
from engine.attacks.autoattack import AutoAttack
from engine.attacks.base import Attack
from engine.attacks.registry import REGISTRY
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog import Params
from engine.catalog.attacks.gradient_free import PARTS, AutoAttackParams
from engine.errors import Cancelled
from engine.events import Event, RunProgress
from engine.pipeline.progress import ProgressMeter
from engine.specs.choices import AttackSpec, make_attack
from tests.helpers.attack_budgets import with_budgets
from tests.helpers.attack_models import trained
from tests.helpers.l2_cases import SHAPES, case, radius

SMALL = {"steps": 12, "n_queries": 40}
"""Budgets for tests; everything else stays at the reference."""


def _small(spec: AttackSpec) -> AttackSpec:
    params = {name: SMALL.get(name, value) for name, value in spec.params.items()}
    return AttackSpec(name=spec.name, params=params)


Started = list[tuple[Attack[Any], int]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Shrinks the parts and lists which one was given how many survivors."""
    seen: Started = []
    parts = autoattack.parts

    class Watched(Attack[Params]):
        def __init__(self, attack: Attack[Any]) -> None:
            super().__init__(attack.params)
            self.attack = attack

        def run(self, search: Search, pass_: Pass) -> None:
            seen.append((self.attack, len(search.survivors())))
            with_budgets(self.attack, SMALL).run(search, pass_)

    monkeypatch.setattr(
        "engine.attacks.autoattack.parts", lambda ball: tuple(map(Watched, parts(ball)))
    )
    return seen


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 0.5)])
@pytest.mark.usefixtures("started")
def test_breaks_what_any_part_breaks_alone(norm: str, eps: float) -> None:
    model, images, labels = trained()
    images, labels = images[:30], labels[:30]
    shared = {"eps": eps, "norm": norm}
    whole = run_attack(model, images, labels, {"name": "autoattack", **shared})
    alone = [
        run_attack(model, images, labels, _small(make_attack({"name": part, **shared})))
        for part in PARTS
    ]
    union = torch.stack([one.broken for one in alone]).any(dim=0)
    assert torch.equal(whole.broken, union)
    assert 2 < union.sum() < 28
    assert torch.equal(whole.broken[alone[0].broken], alone[0].broken[alone[0].broken])
    fresh = int(alone[0].broken.sum() - (alone[0].broken_at_step == 0).sum())
    assert whole.notes[-1].startswith(f"Broken by each part: apgd-ce {fresh}, apgd-t ")


def test_parts_get_only_survivors_in_order(started: Started) -> None:
    model, images, labels = trained()
    spec = {"name": "autoattack", "eps": 0.1}
    result = run_attack(model, images[:50], labels[:50], spec)
    assert tuple(REGISTRY[name] for name in PARTS) == tuple(type(part) for part, _ in started)
    counts = [count for _, count in started]
    wrong = int((result.broken_at_step == 0).sum())
    assert counts[0] == 50 - wrong
    assert counts == sorted(counts, reverse=True)
    assert counts[1] < counts[0]
    numbers = [int(each.split()[-1]) for each in result.notes[-1].rstrip(".").split(", ")]
    left = counts[-1] - numbers[-1]
    assert [a - b for a, b in zip(counts, [*counts[1:], left], strict=True)] == numbers
    assert sum(numbers) + wrong == int(result.broken.sum())
    steps = [point.step for point in result.curve]
    assert steps == sorted(steps)
    # The curve says which part was at work, for whoever watches.
    shown = dict.fromkeys(point.part for point in result.curve)
    assert tuple(shown) == ("", *PARTS)
    ends = [max(point.step for point in result.curve if point.part == part) for part in PARTS]
    assert ends == sorted(ends)


def test_parts_run_at_the_reference_settings(started: Started) -> None:
    model, images, labels = trained()
    run_attack(model, images[:12], labels[:12], {"name": "autoattack", "eps": 0.02, "norm": "L2"})
    params = {name: dict(part.params) for name, (part, _) in zip(PARTS, started, strict=True)}
    shared = {"eps": 0.02, "norm": "L2"}
    adaptive = {**shared, "steps": 100, "restarts": 1, "rho": 0.75, "targets": 0}
    walk = {"steps": 100, "targets": 9, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    assert params == {
        "apgd-ce": adaptive,
        "apgd-t": {**adaptive, "targets": 9},
        "fab-t": {**shared, **walk},
        "square": {**shared, "n_queries": 5000, "p_init": 0.8},
    }


def test_stops_when_nothing_is_left(started: Started) -> None:
    model, images, labels = trained()
    result = run_attack(model, images[:30], labels[:30], {"name": "autoattack", "eps": 0.9})
    assert result.broken.all()
    assert [type(part) for part, _ in started] == [REGISTRY["apgd-ce"]]
    assert result.notes[-1].endswith("apgd-t 0, fab-t 0, square 0.")


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.usefixtures("started")
def test_affine_closed_form(classes: int, shape: tuple[int, int, int], norm: str) -> None:
    """Few classes included: no part may crash where its loss needs more of them."""
    model, images, labels, _ = case(classes, shape)
    measure = radius if norm == "L2" else type(model).radius
    distance = measure(model, images, labels)
    eps = float(distance[distance > 0].median())
    spec = {"name": "autoattack", "eps": eps, "norm": norm}
    result = run_attack(model, images, labels, spec)
    assert int((result.broken != (distance < eps)).sum()) <= 1


@pytest.mark.usefixtures("started")
def test_bf16_is_finished_in_fp32() -> None:
    model, images, labels = trained()
    spec = {"name": "autoattack", "eps": 0.1}
    fast = run_attack(model, images[:30], labels[:30], spec, precision="bf16")
    exact = run_attack(model, images[:30], labels[:30], spec)
    assert (fast.broken | ~exact.broken).all()
    assert [note.split(":")[0] for note in fast.notes if "each part" in note] == [
        "Broken by each part in bf16",
        "Broken by each part",
    ]


def test_cancel_reaches_into_a_part() -> None:
    model, images, labels = trained()
    polls = [0]

    def should_stop() -> bool:
        polls[0] += 1
        return polls[0] > 30

    spec = {"name": "autoattack", "eps": 0.001}
    with pytest.raises(Cancelled):
        run_attack(model, images[:10], labels[:10], spec, should_stop=should_stop)
    assert polls[0] == 31


def test_shows_its_parameters() -> None:
    assert (
        repr(AutoAttack(AutoAttackParams(eps=0.1, norm="L2"))) == "AutoAttack(eps=0.1, norm='L2')"
    )


@pytest.mark.usefixtures("started")
def test_live_messages_name_the_part_at_work() -> None:
    model, images, labels = trained()
    messages: list[Event] = []
    clock = iter(range(10_000_000))
    meter = ProgressMeter(1, 20, messages.append, clock=lambda: float(next(clock)))
    meter.start_batch(20)
    spec = {"name": "autoattack", "eps": 0.1}
    result = run_attack(model, images[:20], labels[:20], spec, observer=meter.step)
    meter.end_batch(result.broken_at_step.tolist())
    parts = dict.fromkeys(one.part for one in messages if isinstance(one, RunProgress))
    assert tuple(parts) == ("", *PARTS)
    assert isinstance(messages[-1], RunProgress)
    assert messages[-1].part == ""
