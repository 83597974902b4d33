"""Minimum-norm attacks: distances that are known, and images and models that are difficult."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import catalog, models
from engine.attacks import StepPoint, run_attack
from engine.attacks.geometry.ball import Threat
from engine.attacks.geometry.minimum_norm import Closest
from engine.attacks.search.search import Search
from engine.errors import Cancelled
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.statistics.security_curves import distances, security_curve
from engine.store import Writer
from tests.helpers.attack_models import Affine, Wrapped, covers, digits, trained
from tests.helpers.studies import small_study

FAST_CW: dict[str, Any] = {
    "name": "cw-l2",
    "steps": 25,
    "step_size": 0.15,
    "initial_const": 0.1,
    "binary_search_steps": 4,
}
OTHERS: list[dict[str, Any]] = [
    {"name": "ddn"},
    {"name": "fmn"},
    {"name": "fmn", "norm": "Linf"},
    {"name": "deepfool"},
    {"name": "deepfool", "norm": "Linf"},
]
NAMES = ["ddn", "fmn-l2", "fmn-linf", "deepfool-l2", "deepfool-linf"]
every_attack = pytest.mark.parametrize("attack", [FAST_CW, *OTHERS], ids=["cw-l2", *NAMES])


def _affine(classes: int, shape: tuple[int, int, int]) -> Affine:
    """Class vectors of length 1, as far from each other as the space allows."""
    model = Affine(classes, shape, seed=classes)
    size = model.linear.in_features
    generator = torch.Generator().manual_seed(classes)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator)).Q
    weight = torch.cat([basis, -basis])[:classes]
    if classes > size:
        weight = torch.cat([basis[: classes // 2], -basis[: classes - classes // 2]])
    with torch.no_grad():
        model.linear.weight.copy_(weight)
        model.linear.bias.copy_(-weight.sum(dim=1) / 2)
    return model


def _closed_form(model: Affine, images: Tensor, labels: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """Smallest distance min_i (z_y - z_i) / ||w_y - w_i||_dual, and the point that attains it."""
    weight, bias = (each.detach().double() for each in model.linear.parameters())
    logits = images.double().flatten(1) @ weight.T + bias
    gap = logits.gather(1, labels[:, None]) - logits
    ways = weight[None] - weight[labels][:, None]
    slope = ways.abs().sum(dim=2) if norm == "Linf" else ways.norm(dim=2)
    distance, rival = (gap / slope).scatter(1, labels[:, None], torch.inf).min(dim=1)
    way = ways[torch.arange(len(labels)), rival]
    way = way.sign() if norm == "Linf" else way / way.norm(dim=1, keepdim=True)
    return distance, images.double().flatten(1) + distance[:, None] * way


def _case(model: Affine, shape: tuple[int, int, int], norm: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and known distances; the box is nowhere near."""
    images = torch.rand(2000, *shape, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    labels = model(images).argmax(dim=1)
    distance, nearest = _closed_form(model, images, labels, norm)
    inside = ((nearest > 0.02) & (nearest < 0.98)).all(dim=1)
    clear = inside & (distance > (0.03 if norm == "L2" else 0.005))
    assert clear.sum() >= 40
    return images[clear][:40], labels[clear][:40], distance[clear][:40]


@pytest.mark.parametrize("attack", OTHERS, ids=NAMES)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("shape", [(1, 2, 4), (1, 4, 6), (3, 5, 7)])
def test_distances_are_those_of_the_closed_form(
    shape: tuple[int, int, int], classes: int, attack: dict[str, Any]
) -> None:
    _check_distances(shape, classes, attack)


@pytest.mark.parametrize(
    ("shape", "classes"), [((1, 2, 4), 2), ((1, 4, 6), 3), ((3, 5, 7), 4), ((1, 4, 6), 10)]
)
def test_distances_of_cw_are_those_of_the_closed_form(
    shape: tuple[int, int, int], classes: int
) -> None:
    short = {"steps": 120, "initial_const": 0.1, "binary_search_steps": 5}
    _check_distances(shape, classes, {"name": "cw-l2", **short})


def _check_distances(shape: tuple[int, int, int], classes: int, attack: dict[str, Any]) -> None:
    model = _affine(classes, shape)
    images, labels, distance = _case(model, shape, attack.get("norm", "L2"))
    result = run_attack(model, images, labels, attack)
    assert result.broken.all()
    ratio = result.distance.double() / distance
    assert ratio.min() > 0.999
    assert ratio.median() < 1.05
    assert ratio.max() < 1.25
    assert torch.equal(model(result.adversarial).argmax(dim=1) != labels, result.broken)


def test_with_random_class_vectors_the_median_holds() -> None:
    """Where the runner-up is not the nearest class, a walk may end at the runner-up."""
    model, shape = Affine(10, (3, 5, 7), seed=3), (3, 5, 7)
    for attack in OTHERS:
        images, labels, distance = _case(model, shape, attack.get("norm", "L2"))
        ratio = run_attack(model, images, labels, attack).distance.double() / distance
        assert ratio.median() < 1.05
        assert ratio.max() < 1.5


@every_attack
def test_pixels_at_the_bounds_move(attack: dict[str, Any]) -> None:
    model = Affine(3, (1, 4, 4), seed=1)
    images = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
    labels = model(images).argmax(dim=1)
    steps = {"steps": 200} if attack["name"] == "cw-l2" else {}
    result = run_attack(model, images, labels, {**attack, **steps})
    assert result.broken.all()
    assert ((result.adversarial >= 0) & (result.adversarial <= 1)).all()
    assert (result.distance > 0).all()


@every_attack
def test_the_level_of_the_logits_does_not_matter(attack: dict[str, Any]) -> None:
    """A margin that is masked by multiplication is stuck where all logits are negative."""
    model = Affine(4, (1, 4, 6), seed=2)
    images, labels, _ = _case(model, (1, 4, 6), attack.get("norm", "L2"))
    plain = run_attack(model, images, labels, attack)
    below = run_attack(Wrapped(model, after=lambda z: z - 64), images, labels, attack)
    assert plain.broken.all()
    assert torch.allclose(below.distance.median(), plain.distance.median(), rtol=0.02)


class _Blind(nn.Module):
    """Answers with NaN for all but the known images, or has a gradient of (nearly) zero."""

    def __init__(self, model: nn.Module, known: Tensor, mode: str) -> None:
        super().__init__()
        self.model, self.known, self.mode = model, known, mode

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        if self.mode == "zero":
            return logits.round()
        if self.mode == "flat":
            return logits * 1e-38
        same = (images[:, None] == self.known[None]).flatten(2).all(dim=2).any(dim=1)
        return torch.where(same[:, None], logits, torch.nan)


@every_attack
@pytest.mark.parametrize("mode", ["nan", "zero", "flat"])
def test_what_cannot_be_differentiated_fails_without_nan(attack: dict[str, Any], mode: str) -> None:
    net, images, _ = trained()
    images = images[:6]
    model = _Blind(net, images, mode).eval()
    labels = model(images).argmax(dim=1)
    result = run_attack(model, images, labels, attack)
    assert result.adversarial.isfinite().all()
    assert torch.equal(result.broken, result.distance.isfinite())
    assert not result.distance.isnan().any()
    if mode != "flat":
        assert not result.broken.any()
    if mode == "nan":
        assert any("Attack failure" in note or "not finite" in note for note in result.notes)


@every_attack
def test_neither_batch_nor_order_matters(attack: dict[str, Any]) -> None:
    model, images, labels = trained()
    images, labels = images[:9], labels[:9]
    whole = run_attack(model, images, labels, attack)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    mixed = run_attack(model, images[order], labels[order], attack)
    parts = [run_attack(model, images[i : i + 4], labels[i : i + 4], attack) for i in (0, 4, 8)]
    joined = torch.cat([part.distance for part in parts])
    for other in (joined, mixed.distance[order.argsort()]):
        assert torch.equal(other.isfinite(), whole.distance.isfinite())
        assert torch.allclose(other, whole.distance, rtol=1e-3)


@every_attack
def test_verdicts_costs_and_steps_are_honest(attack: dict[str, Any]) -> None:
    """The boundary of the deployed model lies a little beside that of the view."""
    net, images, labels = trained()
    images, labels = images[:10], labels[:10].clone()
    deployed = copy.deepcopy(net)
    with torch.no_grad():
        deployed[-1].bias += torch.linspace(-0.05, 0.05, 10)
    labels[0] = (labels[0] + 1) % 10
    seen: list[int] = []

    def count(batch: Tensor) -> Tensor:
        seen.append(len(batch))
        return batch

    points: list[StepPoint] = []
    result = run_attack(
        Wrapped(deployed, before=count),
        images,
        labels,
        attack,
        view=Wrapped(net, before=count),
        observer=points.append,
    )
    assert covers(seen, int(result.forwards.sum()))
    assert result.broken.sum() >= 9
    assert torch.equal(deployed(result.adversarial).argmax(dim=1) != labels, result.broken)
    assert result.distance[0] == result.backwards[0] == 0
    assert torch.equal(result.adversarial[0], images[0])
    assert [point.step for point in points] == list(range(len(points)))
    assert points[-1].broken == int(result.broken.sum())
    assert result.norm == attack.get("norm", "L2")
    length = result.linf if result.norm == "Linf" else result.l2
    assert torch.equal(result.distance[result.broken], length[result.broken])


def _search(model: nn.Module, images: Tensor, labels: Tensor) -> Search:
    threat = Threat("L2", None)
    return Search(model, model, images, labels, threat, seed=0, observer=None, should_stop=None)


def test_the_closest_example_is_kept_whatever_the_order() -> None:
    model = Affine(2, (1, 2, 2), seed=0)
    images = torch.full((1, 1, 2, 2), 0.5)
    labels = model(images).argmax(dim=1)
    way = (model.linear.weight[1 - labels] - model.linear.weight[labels]).detach().view(1, 1, 2, 2)
    search = _search(model, images, labels)
    rows, way = torch.tensor([0]), way / way.norm()
    lengths = {1: 0.3, 2: 0.2, 3: 0.4, 4: 0.25}
    for step, length in lengths.items():
        search.judge(rows, images + length * way, step)
    assert search.verdicts.distance.item() == pytest.approx(0.2)
    assert torch.allclose(search.verdicts.best, images + 0.2 * way)
    assert search.verdicts.broken_at_step.tolist() == [1]
    search.judge(rows, images, 5)  # closer, but right
    assert search.verdicts.distance.item() == pytest.approx(0.2)


def test_what_the_verdict_refuses_does_not_hide_what_it_would_accept() -> None:
    model = Affine(2, (1, 2, 2), seed=0)
    images = torch.full((1, 1, 2, 2), 0.5)
    labels = model(images).argmax(dim=1)
    way = (model.linear.weight[1 - labels] - model.linear.weight[labels]).detach().view(1, 1, 2, 2)
    search, rows, believed = _search(model, images, labels), torch.tensor([0]), torch.tensor([True])
    closest = Closest(search)
    closest.propose(rows, images - 0.01 * way, believed, 1)  # deeper inside the class
    closest.judge_clearly_closer()
    assert not search.verdicts.broken.any()
    closest.propose(rows, images + 0.1 * way, believed, 2)
    closest.judge_clearly_closer()
    first = search.verdicts.distance.item()
    assert first == pytest.approx(0.1 * float(way.norm()), rel=1e-5)
    closest.propose(rows, images + 0.0995 * way, believed, 3)
    closest.judge_clearly_closer()  # too little to be judged now
    assert search.verdicts.distance.item() == first
    closest.settle(rows, images, 4)
    assert search.verdicts.distance.item() == pytest.approx(0.0995 * float(way.norm()), rel=1e-5)


def test_confidence_is_the_margin_that_examples_have() -> None:
    model, images, labels = trained()
    spec = {**FAST_CW, "initial_const": 1}
    plain = run_attack(model, images[:8], labels[:8], spec)
    sure = run_attack(model, images[:8], labels[:8], {**spec, "confidence": 3})
    attacked = (sure.broken_at_step > 0) & sure.broken
    logits = model(sure.adversarial).detach()
    true = logits.gather(1, labels[:8, None]).squeeze(1)
    assert attacked.sum() >= 6
    assert (logits.amax(dim=1) - true)[attacked].min() >= 3 - 1e-4
    assert (sure.distance > plain.distance)[attacked].all()


def test_images_leave_a_round_when_they_stall_alone() -> None:
    model, images, labels = trained()
    spec = {**FAST_CW, "steps": 60, "step_size": 0.4}
    result = run_attack(model, images[:9], labels[:9], spec)
    patient = run_attack(model, images[:9], labels[:9], {**spec, "abort_early": False})
    attacked = result.backwards > 0
    rivals = 9  # whose linearised boundaries are tried before the rounds
    assert (patient.backwards[attacked] == 60 * 4 + rivals).all()
    assert result.backwards[attacked].unique().numel() > 3
    assert result.backwards.sum() < 0.9 * patient.backwards.sum()
    assert result.distance.median() <= 1.05 * patient.distance.median()


@every_attack
def test_bf16_is_declined(attack: dict[str, Any]) -> None:
    model, images, labels = trained()
    exact = run_attack(model, images[:4], labels[:4], attack)
    asked = run_attack(model, images[:4], labels[:4], attack, precision="bf16")
    assert asked.precision == "fp32"
    assert torch.equal(asked.distance, exact.distance)
    assert any("fp32" in note for note in asked.notes)


@every_attack
def test_cancel_and_nothing_to_do(attack: dict[str, Any]) -> None:
    model, images, labels = trained()
    polls = iter([False, False, True])
    with pytest.raises(Cancelled):
        run_attack(model, images[:4], labels[:4], attack, should_stop=lambda: next(polls))
    wrong = (model(images[:4]).argmax(dim=1) + 1) % 10
    done = run_attack(model, images[:4], wrong, attack)
    assert (done.distance == 0).all()
    assert run_attack(model, images[:0], labels[:0], attack).distance.shape == (0,)


def test_a_study_says_that_distances_are_the_result(tmp_path: Path) -> None:
    study = small_study(
        compression=[],
        attack=[{**FAST_CW, "steps": 15}, {"name": "fmn", "norm": ["L2", "Linf"], "steps": 20}],
    )
    with Writer(tmp_path / "lab.db") as store:
        runner.run(study, store, lambda _: None, options=Options(device="cpu"))
        rows = store.results()
        samples = store.samples(rows[2]["run_id"])
    assert [row["status"] for row in rows] == ["finished"] * 3
    assert [(row["eps"], row["norm"]) for row in rows] == [
        (None, "L2"),
        (None, "L2"),
        (None, "Linf"),
    ]
    for row in rows:
        (flag,) = [flag for flag in row["flags"] if flag["id"] == "minimum-norm"]
        assert flag["level"] == "info"
        assert row["norm"] in flag["text"]
    found = [s["linf"] for s in samples if s["broken"] and s["clean_prediction"] == s["label"]]
    assert rows[2]["avg_perturbation_linf"] == pytest.approx(sum(found) / len(found))
    curve = security_curve(distances(samples, "Linf"), [0.0, 1.0])
    assert curve.robust_accuracy[0] == rows[2]["clean_accuracy"]
    assert rows[2]["robust_accuracy"] is None
    assert rows[2]["median_distance"] == pytest.approx(np.median(distances(samples, "Linf")))


def test_cw_is_as_close_as_foolbox() -> None:
    foolbox = pytest.importorskip("foolbox")
    model = models.load(catalog.model_card("digits-resnet")).eval()
    images, labels = (each[1297:1321] for each in digits())
    result = run_attack(model, images, labels, FAST_CW)
    theirs = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=4, steps=25, stepsize=0.15, initial_const=0.1
    )
    points, _, _ = theirs(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=None)
    length = (points - images).flatten(1).norm(dim=1)
    wrong = model(points).argmax(dim=1) != labels
    assert result.broken.sum() >= wrong.sum()
    both = wrong & (result.distance > 0)
    assert both.sum() >= 20
    assert result.distance[both].median() <= 1.02 * length[both].median()
