"""A worst case is the union of its attacks, each of which meets only what was left."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import AttackResult, StepPoint, run_attack
from engine.attacks.cascade import CLEAN, Settled, run_cascade
from engine.attacks.geometry.ball import Threat
from engine.attacks.known import Known
from engine.attacks.search.notes import LOST, Note
from engine.pipeline import attack_plan
from engine.specs.choices import AttackSpec, make_attack
from engine.specs.study import Study
from tests.helpers.attack_models import Affine, Wrapped, trained

EPS = 0.1
FGSM = {"name": "fgsm", "eps": EPS}
PGD = {"name": "pgd", "eps": EPS, "steps": 10}
SQUARE = {"name": "square", "eps": EPS, "n_queries": 60}
FMN = {"name": "fmn", "norm": "Linf", "steps": 30}


def worst_case(*attacks: dict[str, Any]) -> AttackSpec:
    study = Study.from_dict(
        {
            "name": "worst",
            "mode": "worst-case",
            "dataset": {"name": "digits"},
            "model": [{"name": "digits-resnet"}],
            "attack": list(attacks),
        }
    )
    (spec,) = study.attack_specs()
    return spec


def cascade(
    model: nn.Module, images: Tensor, labels: Tensor, *attacks: dict[str, Any], **more: Any
) -> Settled:
    spec = worst_case(*attacks)
    order = attack_plan.cheapest_first(spec, 10)
    return run_cascade(model, images, labels, spec, order, **more)


def broken_in_full(model: nn.Module, images: Tensor, labels: Tensor, attack: Any) -> Tensor:
    result = run_attack(model, images, labels, attack)
    length = Threat("Linf", EPS).length(images, result.adversarial)
    return result.broken & (length <= EPS * (1 + 1e-6))


@pytest.fixture(scope="module")
def case() -> tuple[nn.Module, Tensor, Tensor]:
    model, images, labels = trained()
    return model, images[:60], labels[:60]


def test_it_breaks_what_any_of_its_attacks_breaks(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    found = cascade(*case, PGD, SQUARE, FGSM, FMN)
    alone = {
        attack.label: broken_in_full(*case, attack)
        for attack in attack_plan.cheapest_first(worst_case(PGD, SQUARE, FGSM, FMN), 10)
    }
    union = torch.stack(list(alone.values())).any(dim=0)
    assert 0 < union.sum() < len(union)
    assert torch.equal(found.result.broken, union)
    # Who settled an image breaks it alone, and nobody before him does.
    clean = case[0](case[1]).argmax(dim=1)
    for image, by in enumerate(found.by):
        first = next((label for label, broken in alone.items() if broken[image]), "")
        assert by == (CLEAN if clean[image] != case[2][image] else first)
    assert len({by for by in found.by if by}) > 2


def test_each_example_breaks_the_model_inside_the_ball(
    case: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, labels = case
    result = cascade(*case, FMN, FGSM).result
    assert Threat("Linf", EPS).holds(images, result.adversarial).all()
    with torch.no_grad():
        wrong = model(result.adversarial).argmax(dim=1) != labels
    assert torch.equal(wrong, result.broken)
    assert torch.equal(result.adversarial_predictions != labels, result.broken)
    length = (result.adversarial - images).flatten(1).abs().amax(dim=1)
    assert torch.allclose(result.linf, length, atol=1e-6)
    assert result.linf.max() <= EPS * (1 + 1e-6)


def test_distances_beyond_the_ball_settle_nothing() -> None:
    """On an affine model the closest example is known, so fmn settles exactly what is near."""
    model = Affine(10, (1, 4, 4))
    images = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    radius = model.radius(images, labels)
    eps = float(radius.median())
    far = (radius - eps).abs() > 0.02 * eps  # the search leaves a little open
    spec = worst_case({**FGSM, "eps": eps}, {**FMN, "steps": 100})
    found = run_cascade(model, images, labels, spec, spec.members[1:])
    assert torch.equal(found.result.broken[far], (radius < eps)[far])
    assert 10 < int(found.result.broken.sum()) < 70


def test_an_image_meets_nobody_after_it_is_broken(case: tuple[nn.Module, Tensor, Tensor]) -> None:
    fgsm = run_attack(*case, FGSM)
    found = cascade(*case, FGSM, {**PGD, "steps": 100}).result
    early = fgsm.broken & (fgsm.broken_at_step > 0)
    assert early.any()
    assert found.backwards[early].max() <= fgsm.backwards.max()
    assert found.backwards[~found.broken].min() > fgsm.backwards.max()


@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_batch_changes_nothing(case: tuple[nn.Module, Tensor, Tensor], size: int) -> None:
    model, images, labels = case
    whole = cascade(*case, PGD, SQUARE)
    parts = [
        cascade(model, some, these, PGD, SQUARE)
        for some, these in zip(images[:14].split(size), labels[:14].split(size), strict=True)
    ]
    assert [by for part in parts for by in part.by] == list(whole.by[:14])


def test_known_examples_go_first_where_they_lie_in_the_ball(
    case: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, images, labels = case
    strong = run_attack(*case, {"name": "pgd", "eps": 2 * EPS})
    right = model(images).argmax(dim=1) == labels
    rows = torch.arange(len(images))
    wide = Known("wide", rows, strong.adversarial)
    useless = Known("useless", rows, images)
    near = run_attack(*case, PGD)
    mine = Known(
        "mine", rows[near.broken & right].flip(0), near.adversarial[near.broken & right].flip(0)
    )
    found = cascade(*case, FGSM, known=(useless, wide, mine))
    assert [image for image, by in enumerate(found.by) if by == "mine"] == rows[
        near.broken & right & ~_inside(wide.points, images)
    ].tolist()
    assert "useless" not in found.by
    assert not found.found[[by == "mine" for by in found.by]].any()
    settled = torch.tensor([by == "mine" for by in found.by])
    assert torch.equal(found.result.adversarial[settled], near.adversarial[settled])
    assert found.result.backwards[settled].sum() == 0, "a forward each, and no search"


def test_sources_are_asked_for_one_by_one_until_nothing_is_left() -> None:
    model = Affine(10, (1, 4, 4))
    images = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    eps = float(model.radius(images, labels).max()) * 1.5
    strong = run_attack(model, images, labels, {"name": "pgd", "eps": eps, "steps": 50})
    assert strong.broken.all()
    asked = []

    def sources() -> Iterator[Known]:
        for title, end in (("half", 10), ("whole", 20), ("late", 20)):
            asked.append(title)
            yield Known(title, torch.arange(end), strong.adversarial[:end])

    found = run_cascade(
        model, images, labels, worst_case({**FGSM, "eps": eps}), (), known=sources()
    )
    assert found.by == ("half",) * 10 + ("whole",) * 10
    assert asked == ["half", "whole"]


def _inside(points: Tensor, images: Tensor) -> Tensor:
    return Threat("Linf", EPS).holds(images, points)


class Coin(nn.Module):
    """Wrong on every second draw, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.affine = Affine(10, (1, 4, 4))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.affine(images)
        flip = torch.rand(len(images), 1) < 0.5
        return torch.where(flip, logits.roll(1, dims=1), logits)


def test_draws_of_a_random_model_do_not_add_up() -> None:
    """Eight attacks with nothing to find: the luckiest of them counts, not all together."""
    model = Coin()
    images = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model.affine(images).argmax(dim=1)
    attacks = [{"name": "pgd", "eps": 1e-6, "steps": steps} for steps in range(1, 9)]
    study = {"name": "pgd", "eps": 1e-6, "steps": list(range(1, 9))}
    found = cascade(model, images, labels, study)
    once = [run_attack(model, images, labels, attack).broken.float().mean() for attack in attacks]
    assert float(found.result.broken.float().mean()) == pytest.approx(
        max(map(float, once)), abs=0.1
    )
    assert set(found.by) <= {"", CLEAN, *(f"pgd-{steps} 1e-06" for steps in range(1, 9))}
    assert [bool(by) for by in found.by] == found.result.broken.tolist()


def test_nor_do_they_where_only_an_attack_finds_out_that_it_is_random() -> None:
    affine, generator = Affine(10, (1, 4, 4)), torch.Generator().manual_seed(0)
    images = torch.rand(400, 1, 4, 4, generator=generator)
    labels = affine(images).argmax(dim=1)
    top = affine(images).topk(2).values
    images, labels = (one[(top[:, 1] - top[:, 0]).argsort()] for one in (images, labels))
    steady = affine(images[40:41]).topk(2).values.diff().abs()

    def toss_near_the_edge(logits: Tensor) -> Tensor:
        near = logits.topk(2, dim=1).values.diff(dim=1).abs() < steady
        flip = near & (torch.rand(len(logits), 1, generator=generator) < 0.5)
        return torch.where(flip, logits.roll(1, dims=1), logits)

    model = Wrapped(affine, after=toss_near_the_edge)
    study = {"name": "pgd", "eps": 1e-6, "steps": list(range(1, 9))}
    found = cascade(model, images, labels, study).result
    assert found.random
    # Of 360 images a toss before the first attack, one before it climbs, and its last word: no
    # attack after it is luckier, and sixteen more tosses would leave none of them.
    assert int(found.broken.sum()) == pytest.approx(360 * 0.875, abs=24)


def test_whoever_gave_the_point_settles_an_image_of_a_random_model() -> None:
    """What counts is the last draw, on the point that is kept: of one source, or the image."""
    model = Coin()
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model.affine(images).argmax(dim=1)
    moved = (images + 1e-4).clamp(max=1.0)
    known = [Known("even", torch.arange(0, 200, 2), moved[::2])]
    nothing = {"name": "pgd", "eps": 1e-3, "steps": 1, "step_size": 1e-9, "random_start": False}
    spec = worst_case(nothing)
    found = run_cascade(model, images, labels, spec, (), known=known)
    points = (found.result.adversarial == moved).flatten(1).all(dim=1).tolist()
    assert [bool(by) for by in found.by] == found.result.broken.tolist()
    assert {"even", CLEAN} <= set(found.by)
    for by, taken in zip(found.by, points, strict=True):
        assert by == "even" if by and taken else by in ("", CLEAN)


def test_on_a_random_model_the_strongest_attack_counts_wherever_it_stands() -> None:
    affine = Affine(10, (1, 4, 4))
    model = Wrapped(affine, after=lambda logits: logits + 1e-3 * torch.randn_like(logits))
    images = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = affine(images).argmax(dim=1)
    eps = float(affine.radius(images, labels).median())
    weak = {"name": "pgd", "eps": eps, "steps": 1, "step_size": eps / 100, "random_start": False}
    strong = {"name": "pgd", "eps": eps, "steps": 10}
    alone = int(run_attack(model, images, labels, strong).broken.sum())
    assert alone > 20
    for attacks in ((weak, strong), (strong, weak)):
        spec = worst_case(*attacks)
        found = run_cascade(model, images, labels, spec, spec.members)
        assert int(found.result.broken.sum()) == pytest.approx(alone, abs=4)
        assert found.by.count(make_attack(strong).label) > 20


def test_its_steps_stand_on_one_axis_under_the_names_of_the_plan(
    case: tuple[nn.Module, Tensor, Tensor],
) -> None:
    seen: list[StepPoint] = []
    found = cascade(*case, SQUARE, PGD, FMN, observer=seen.append)
    steps = [point.step for point in seen]
    assert steps == sorted(steps)
    parts = [part for part, _ in itertools.groupby(point.part for point in seen if point.step)]
    plan = attack_plan.parts(worst_case(SQUARE, PGD, FMN), 10, "fp32")
    assert parts == [part.name for part in plan][1:]
    assert all(point.total == len(case[1]) for point in seen)
    assert all(point.broken + point.active == point.total for point in seen)
    for by, step in zip(found.by, found.result.broken_at_step.tolist(), strict=True):
        own = [point.step for point in seen if point.part == by]
        assert step in (-1, 0) if by in ("", CLEAN) else own[0] <= step <= own[-1]
    curve = found.result.curve
    assert [point.broken for point in curve] == sorted(point.broken for point in curve)
    assert curve[-1].broken == int(found.result.broken.sum())
    assert [point.forwards for point in curve] == sorted(point.forwards for point in curve)


@pytest.mark.parametrize("eps_of", [torch.median, lambda radius: 1.5 * radius.max()])
def test_of_images_that_are_broken_later_no_attack_complains(
    monkeypatch: pytest.MonkeyPatch, eps_of: Callable[[Tensor], Tensor]
) -> None:
    """What the first attack lost on the way another one found."""
    model = Affine(10, (1, 4, 4))
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    eps = float(eps_of(model.radius(images, labels)))
    notes = [Note(LOST, 30), Note("blind", 30)]

    def noted(*given: Any, **how: Any) -> AttackResult:
        return dataclasses.replace(run_attack(*given, **how), remarks=tuple(notes))

    monkeypatch.setattr("engine.attacks.cascade.run_attack", noted)
    found = cascade(model, images, labels, {**FGSM, "eps": eps}, {**PGD, "eps": eps}).result
    left = int((~found.broken).sum())
    told = {note.kind: note.count for note in found.remarks if note in notes or note.kind == LOST}
    assert told == {"blind": 30, **({LOST: left} if left else {})}
    assert left < 30


def test_no_image_gives_no_result() -> None:
    model = Affine(10, (1, 4, 4))
    none = torch.zeros(0, 1, 4, 4)
    found = cascade(model, none, torch.zeros(0, dtype=torch.int64), PGD)
    assert len(found.result.broken) == 0
    assert found.by == ()


def test_the_cheap_go_before_the_dear() -> None:
    spec = worst_case({**SQUARE, "n_queries": 5000}, FMN, {**PGD, "steps": 40}, FGSM)
    order = [attack.name for attack in attack_plan.cheapest_first(spec, 10)]
    assert order == ["fgsm", "fmn", "pgd", "square"]
