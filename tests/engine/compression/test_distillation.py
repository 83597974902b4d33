"""Distillation objectives against their formulas, worked out image by image in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog
from engine.compression.methods.distillation import averaged_from, course_for
from engine.specs.choices import make_step
from engine.training.adversary import pgd_examples
from engine.training.distillation import divergences, trust
from engine.training.optimisation import optimiser, schedule
from tests.helpers.distillation_case import (
    CLASSES,
    EPS,
    IMAGES,
    LABELS,
    STEPS,
    Formula,
    Linear,
    Rows,
    Setting,
    ce,
    generator,
    kl,
    learning,
    mean,
    numeric,
    parameters,
    setting,
    softmax,
)

ROBUST = ("ard", "rslad", "iad-1", "iad-2", "akd2")


def soft(q: list[float], row: list[float]) -> float:
    """Sum over the classes of q (log(q + 1e-5) - log p)."""
    return sum(a * (math.log(a + 1e-5) - math.log(b)) for a, b in zip(q, softmax(row), strict=True))


def _rslad(r: Rows, weight: float, scale: float) -> float:
    q = softmax(r.t)
    return scale * (weight * soft(q, r.s_adv) + (1 - weight) * soft(q, r.s)) / CLASSES


def _iad_2(r: Rows, a: float, own: float = 1.0) -> float:
    """Both teachers are one here: robust 0.5, standard 0.25, labels 0.25."""
    taught = a * kl(r.t_adv, r.s_adv) + own * (1 - a) * kl(r.s, r.s_adv)
    return 0.25 * ce(r.s_adv, r.y) + 0.5 * taught + 0.25 * kl(r.t_adv, r.s_adv)


def _akd_2(r: Rows, a: float, b: float, temperature: float) -> float:
    """Both teachers are one here; - sum of p log q is KL plus the entropy of p."""
    p, q = softmax(r.t_adv, temperature), softmax(r.s_adv, temperature)
    taught = -sum(one * math.log(two) for one, two in zip(p, q, strict=True))
    return (1 - a - b) * ce(r.s_adv, r.y) + (a + b) * temperature**2 * taught


CASES: list[tuple[dict[str, Any], int, Formula]] = [
    ({"name": "kd"}, 1, lambda r: 0.1 * ce(r.s, r.y) + 0.9 * 4**2 * kl(r.t, r.s, 4)),
    ({"name": "kd", "alpha": 1}, 1, lambda r: ce(r.s, r.y)),
    (
        {"name": "kd", "alpha": 0.4, "temperature": 2},
        1,
        lambda r: 0.4 * ce(r.s, r.y) + 0.6 * 2**2 * kl(r.t, r.s, 2),
    ),
    ({"name": "ard"}, 1, lambda r: 900 * kl(r.t, r.s_adv, 30) / CLASSES),
    ({"name": "ard", "reduction": "batchmean"}, 1, lambda r: 900 * kl(r.t, r.s_adv, 30)),
    (
        {"name": "ard", "alpha": 0.7, "temperature": 5},
        1,
        lambda r: 0.7 * 25 * kl(r.t, r.s_adv, 5) / CLASSES + 0.3 * ce(r.s, r.y),
    ),
    ({"name": "rslad"}, 1, lambda r: _rslad(r, 5 / 6, 1)),
    ({"name": "rslad", "scale": 10}, 1, lambda r: _rslad(r, 5 / 6, 10)),
    ({"name": "rslad", "adversarial_weight": "1/3"}, 1, lambda r: _rslad(r, 1 / 3, 1)),
    ({"name": "iad-1"}, 60, lambda r: kl(r.t, r.s_adv)),
    ({"name": "iad-1"}, 61, lambda r: r.a * kl(r.t, r.s_adv) + (1 - r.a) * kl(r.s, r.s_adv)),
    (
        {"name": "iad-1", "teacher_weighting": "as coded"},
        61,
        lambda r: kl(r.t, r.s_adv) + (1 - r.a) * kl(r.s, r.s_adv),
    ),
    (
        {"name": "iad-1", "alpha": 0.6, "temperature": 3, "passes": "as coded"},
        61,
        lambda r: (
            0.6 * 9 * r.a * kl(r.t, r.s_adv, 3)
            + 0.6 * (1 - r.a) * kl(r.s, r.s_adv)
            + 0.4 * ce(r.s, r.y)
        ),
    ),
    (
        {"name": "iad-1", "beta": 2, "warm_up": 0},
        1,
        lambda r: r.a**20 * kl(r.t, r.s_adv) + (1 - r.a**20) * kl(r.s, r.s_adv),
    ),
    ({"name": "iad-2"}, 40, lambda r: _iad_2(r, 1)),
    ({"name": "iad-2"}, 41, lambda r: _iad_2(r, r.a)),
    ({"name": "iad-2", "warm_up": 1}, 200, lambda r: _iad_2(r, 1)),
    (
        {"name": "iad-2", "alpha": 0.6, "alpha_standard": 0.3, "temperature": 3},
        41,
        lambda r: (
            0.1 * ce(r.s_adv, r.y)
            + 0.3 * 9 * kl(r.t_adv, r.s_adv, 3)
            + 0.6 * 9 * (r.a * kl(r.t_adv, r.s_adv, 3) + (1 - r.a) * kl(r.s, r.s_adv))
        ),
    ),
    ({"name": "akd2"}, 1, lambda r: _akd_2(r, 0.6, 0.1, 2)),
    (
        {"name": "akd2", "alpha": 0.3, "alpha_standard": 0.7, "temperature": 5},
        200,
        lambda r: _akd_2(r, 0.3, 0.7, 5),
    ),
]


@pytest.mark.parametrize(("table", "epoch", "formula"), CASES)
def test_loss_and_gradient_of_a_batch(table: dict[str, Any], epoch: int, formula: Formula) -> None:
    """The gradient of the formula goes through every student branch, and so must the loss's."""
    case = setting(table, epoch)
    teacher = case.teachers["base"].requires_grad_(True)
    loss = case.loss()
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    x = case.shown()[0]
    assert torch.equal(x, IMAGES) == (table["name"] == "kd")
    weight, fixed = case.student.weight.detach(), teacher.weight.detach()

    def value(at: torch.Tensor) -> float:
        return mean(formula, at, fixed, x)

    assert loss.item() == pytest.approx(value(weight), rel=1e-10)
    assert case.student.weight.grad is not None
    assert torch.allclose(case.student.weight.grad, numeric(value, weight), atol=2e-7)


@pytest.mark.parametrize("name", ["kd", *ROBUST])
def test_a_small_step_down_the_gradient_brings_the_student_nearer(name: str) -> None:
    """By the first order of its loss, examples searched anew: they are where it is largest."""
    found, length = setting({"name": name}), 1e-4
    before = found.loss()
    (gradient,) = torch.autograd.grad(before, found.student.weight)
    with torch.no_grad():
        found.student.weight -= length * gradient / gradient.norm()
    gained = float((before - found.loss()).detach())
    assert gained == pytest.approx(length * float(gradient.norm()), rel=0.1)


@pytest.mark.parametrize("name", ["iad-1", "iad-2"])
def test_gradient_flows_into_the_students_own_target(name: str) -> None:
    """With a detached target the gradient would be the one of the other side alone."""
    case = setting({"name": name}, 200)
    case.loss().backward()
    x, teacher = case.shown()[0], case.teachers["base"].weight.detach()
    weight = case.student.weight.detach()
    fixed = (IMAGES.flatten(1) @ weight.T).tolist()
    formula = {
        "iad-1": lambda r: r.a * kl(r.t, r.s_adv) + (1 - r.a) * kl(r.s, r.s_adv),
        "iad-2": lambda r: _iad_2(r, r.a),
    }[name]

    def detached(at: torch.Tensor) -> float:
        rows = iter(fixed)

        def one(r: Rows) -> float:
            return formula(Rows(next(rows), r.s_adv, r.t, r.t_adv, r.y))

        return mean(one, at, teacher, x)

    assert case.student.weight.grad is not None
    assert not torch.allclose(case.student.weight.grad, numeric(detached, weight), atol=1e-4)


def test_the_two_teachers_of_iad_2_have_a_weight_each() -> None:
    """The robust one decides the trust."""
    case = setting({"name": "iad-2"}, 41)
    robust, standard = Linear(21, 3.0), Linear(22, 3.0)
    case.objective._teacher, case.objective._standard = robust, standard  # type: ignore[attr-defined]
    loss = case.loss().item()
    x = case.shown()[0]
    matrices = (m.weight.detach() for m in (case.student, robust, standard))
    s, t, n = ((x.flatten(1) @ m.T).tolist() for m in matrices)
    own = (IMAGES.flatten(1) @ case.student.weight.detach().T).tolist()
    total = 0.0
    for z, z_adv, at, st, y in zip(own, s, t, n, LABELS.tolist(), strict=True):
        a = softmax(at)[y] ** 0.1
        total += 0.25 * ce(z_adv, y) + 0.25 * kl(st, z_adv)
        total += 0.5 * (a * kl(at, z_adv) + (1 - a) * kl(z, z_adv))
    assert loss == pytest.approx(total / len(LABELS), rel=1e-10)


def test_the_two_teachers_of_akd2_have_a_weight_each() -> None:
    """A teacher that is certain of the label is the label at temperature 1."""
    case = setting({"name": "akd2", "alpha": 0.6, "alpha_standard": 0.1, "temperature": 1})
    certain, open_minded = Linear(21, 0.0), Linear(22, 3.0)
    answers = 1e3 * nn.functional.one_hot(LABELS, CLASSES).double()
    certain.forward = lambda x: answers  # type: ignore[method-assign]
    case.objective._teachers = ((0.6, certain), (0.1, open_minded))  # type: ignore[attr-defined]
    loss = case.loss().item()
    x = case.shown()[0].flatten(1)
    s, n = ((x @ m.weight.detach().T).tolist() for m in (case.student, open_minded))
    total = 0.0
    for z, t, y in zip(s, n, LABELS.tolist(), strict=True):
        other = -sum(p * math.log(q) for p, q in zip(softmax(t), softmax(z), strict=True))
        total += 0.9 * ce(z, y) + 0.1 * other
    assert loss == pytest.approx(total / len(LABELS), rel=1e-10)


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ({}, 56),  # as the published code, which counts from 0 and begins with 55
        ({"epochs": 20}, 7),
        ({"epochs": 1}, 1),
        ({"swa_start": 0, "epochs": 3}, 1),
        ({"swa": False}, None),
    ],
)
def test_the_first_epoch_of_the_mean_of_weights(table: dict[str, Any], first: int | None) -> None:
    assert averaged_from(parameters({"name": "akd2", **table})) == first


def test_trust_is_a_number_and_full_at_power_zero() -> None:
    logits = torch.tensor([[0.0, 1.0], [200.0, 0.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 1])
    found = trust(logits, labels, 0.1)
    assert not found.requires_grad
    sure = 1 / (1 + math.exp(-1))
    assert found.tolist() == pytest.approx([sure**0.1, math.exp(-20)], rel=1e-9)
    assert trust(logits, labels, 0.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["kd", *ROBUST])
def test_gradients_stay_finite_where_a_probability_underflows(name: str) -> None:
    case = setting({"name": name}, 200)
    with torch.no_grad():
        case.student.weight.mul_(1000)
        case.teachers["base"].weight.mul_(1000)
    loss = case.loss()
    loss.backward()
    assert loss.isfinite()
    assert case.student.weight.grad is not None
    assert case.student.weight.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 30.0])
def test_logits_in_half_precision_are_compared_exactly(temperature: float) -> None:
    """Divided in bf16, logits that differ little would fall together."""
    draw = torch.Generator().manual_seed(0)
    one, two = (torch.randn(4, 10, generator=draw).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = divergences(one, two, temperature).tolist()
    rows = zip(one.tolist(), two.tolist(), strict=True)
    assert found == pytest.approx([kl(a, b, temperature) for a, b in rows], rel=2e-3)


# --- examples, modes and BatchNorm ---

PASSES = [
    ({"name": "kd"}, 1, "c"),
    ({"name": "ard"}, 1, "ac"),
    ({"name": "rslad"}, 1, "ac"),
    ({"name": "iad-1"}, 60, "ac"),
    ({"name": "iad-1"}, 61, "ac"),
    ({"name": "iad-1", "passes": "as coded"}, 60, "aac"),
    ({"name": "iad-1", "passes": "as coded"}, 61, "aacc"),
    ({"name": "iad-2"}, 40, "a"),
    ({"name": "iad-2"}, 41, "ac"),
    ({"name": "akd2"}, 1, "a"),
]


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(("table", "epoch", "passes"), PASSES)
def test_passes_of_the_student(table: dict[str, Any], epoch: int, passes: str, mode: str) -> None:
    """Adversarial (a) and clean (c) batches in train mode, in order; each moves BatchNorm."""
    searched = 0 if table["name"] == "kd" else STEPS
    case = setting(table if not searched else {**table, "attack_mode": mode}, epoch)
    case.loss()
    in_search = searched if mode == "train" else 0
    kinds = ["c" if torch.equal(x, IMAGES) else "a" for x in case.shown()[in_search:]]
    assert "".join(kinds) == passes
    assert int(case.student.norm.num_batches_tracked) == in_search + len(passes)
    assert len(case.student.seen) == searched + len(passes)
    assert case.student.training


SEEN_BY_TEACHER = {
    "kd": {"c"},
    "ard": {"c"},
    "rslad": {"c"},
    "iad-1": {"a", "c"},
    "iad-2": {"a"},
    "akd2": {"a"},
}


@pytest.mark.parametrize("name", SEEN_BY_TEACHER)
def test_what_the_teacher_is_shown_in_eval_mode(name: str) -> None:
    case = setting({"name": name}, 200)
    case.loss()
    teacher = case.teachers["base"]
    kinds = {"c" if torch.equal(x, IMAGES) else "a" for _, x in teacher.seen}
    assert kinds == SEEN_BY_TEACHER[name]
    assert not any(training for training, _ in teacher.seen)
    assert int(teacher.norm.num_batches_tracked) == 0


def test_rslad_examples_climb_the_divergence_from_the_teacher() -> None:
    case = setting({"name": "rslad"})
    case.loss()
    weight = case.student.weight.detach()
    q = (IMAGES.flatten(1) @ case.teachers["base"].weight.detach().T).softmax(1)
    x = IMAGES + 0.001 * torch.randn(IMAGES.shape, generator=generator()).double()
    flat, x = IMAGES.flatten(1), x.flatten(1)
    for _ in range(STEPS):
        # d KL(q || p) / d logits of p = p - q
        climb = ((x @ weight.T).softmax(1) - q) @ weight
        x = x + 2.5 * EPS / STEPS * climb.sign()
        x = torch.min(torch.max(x, flat - EPS), flat + EPS).clip(0, 1)
    assert torch.allclose(case.shown()[0].flatten(1), x, atol=1e-12)


@pytest.mark.parametrize("name", ["ard", "iad-1", "iad-2", "akd2"])
def test_other_examples_climb_the_cross_entropy(name: str) -> None:
    case = setting({"name": name})
    case.loss()
    wanted = pgd_examples(
        Linear(2, 2.0), IMAGES, LABELS, eps=EPS, steps=STEPS, generator=generator()
    )
    assert torch.equal(case.shown()[0], wanted)


# --- epochs ---


@pytest.mark.parametrize(
    ("table", "last_warm"),
    [
        ({"name": "iad-1"}, 60),
        ({"name": "iad-2"}, 40),
        ({"name": "iad-1", "epochs": 10}, 3),
        ({"name": "iad-1", "epochs": 7}, 3),  # the third begins with 2 of 2.1 epochs behind
        ({"name": "iad-2", "epochs": 15}, 3),
        ({"name": "iad-2", "warm_up": 0}, 0),
        ({"name": "iad-2", "warm_up": 1, "epochs": 9}, 9),
    ],
)
def test_the_warm_up_ends_behind_its_share_of_the_epochs(
    table: dict[str, Any], last_warm: int
) -> None:
    case = setting(table)
    warm = []
    for epoch in range(1, parameters(table).epochs + 1):
        case.objective.begin_epoch(case.student, epoch)
        case.student.seen.clear()
        case.loss()
        passes = len(case.student.seen) - STEPS
        warm.append(passes == 1 if table["name"] == "iad-2" else _trusts_fully(case))
    assert warm == [epoch <= last_warm for epoch in range(1, len(warm) + 1)]


def _trusts_fully(case: Setting) -> bool:
    weights = case.student.weight.detach(), case.teachers["base"].weight.detach()
    value = mean(lambda r: kl(r.t, r.s_adv), *weights, case.shown()[0])
    return case.loss().item() == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("table", "steps"),
    [
        ({"name": "ard"}, [(100, 0.1), (50, 0.01), (50, 0.001)]),
        ({"name": "ard", "schedule": "as coded"}, [(100, 0.1), (100, 0.01)]),
        ({"name": "iad-1", "epochs": 20}, [(10, 0.1), (5, 0.01), (5, 0.001)]),
        ({"name": "iad-2", "schedule": "as coded"}, [(100, 0.1), (100, 0.01)]),
        ({"name": "akd2"}, [(50, 0.1), (100, 0.01), (50, 0.001)]),
        ({"name": "rslad"}, [(215, 0.1), (45, 0.01), (25, 1e-3), (15, 1e-4)]),
        ({"name": "rslad", "epochs": 60, "lr": 1}, [(43, 1), (9, 0.1), (5, 0.01), (3, 1e-3)]),
    ],
)
def test_learning_rate_of_each_epoch(table: dict[str, Any], steps: list[tuple[int, float]]) -> None:
    params, batches = learning({"student": "digits-cnn"} | table), 3
    optimizer = optimiser(nn.Linear(1, 1), params)
    course = schedule(optimizer, params, params.epochs * batches, course_for(params))
    rates = []
    for _ in range(params.epochs * batches):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        course.step()
    wanted = [rate for epochs, rate in steps for _ in range(epochs * batches)]
    assert rates == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["kd", *ROBUST])
def test_a_named_schedule_takes_the_place_of_the_published_one(name: str) -> None:
    assert course_for(parameters({"name": name, "schedule": "cosine"})) is None


@pytest.mark.parametrize("name", ROBUST)
def test_defaults_are_those_of_the_papers(name: str) -> None:
    step = make_step({"name": name})
    wanted = {
        "epochs": 300 if name == "rslad" else 200,
        "batch_size": 128,
        "lr": None,
        "momentum": 0.9,
        "weight_decay": 5e-4 if name == "akd2" else 2e-4,
        "nesterov": False,
        "optimizer": "sgd",
        "schedule": "as published",
        "eps": 8 / 255,
        "attack_steps": 10,
        "attack_mode": "eval",
        "student": "same",
        "teacher": "base",
    }
    assert {key: step.params[key] for key in wanted} == wanted
    params = catalog.find("compressions", name).params.model_validate(step.params)
    assert params.step_size == pytest.approx(2 / 255)  # type: ignore[attr-defined]
