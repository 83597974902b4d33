"""APGD on the cross-entropy, on the DLR loss and on the targeted DLR loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.attacks.apgd import Climb, checkpoints
from engine.attacks.geometry.threat import L2Region, LinfRegion
from engine.attacks.losses.dlr import dlr, targeted_dlr
from engine.attacks.losses.objectives import margin
from engine.errors import CrumpleError
from engine.specs.choices import make_attack
from tests.helpers.apgd_cases import BALLS, Row, affine_case
from tests.helpers.attack_models import Wrapped, covers, trained

ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t")


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(("shape", "norm"), BALLS)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_affine_closed_form(
    classes: int, shape: tuple[int, int, int], norm: str, attack: str
) -> None:
    model, images, labels, radius = affine_case(classes, shape, norm)
    # Without a target the climb may end at another class than the closest: restarts help, and
    # for the cross-entropy sharp logits, which let it see one rival at a time.
    sharp = Wrapped(model, after=lambda logits: logits * 1000)
    extra = {} if attack == "apgd-t" or classes == 2 else {"restarts": 8}
    eps = float(radius[radius > 0].quantile(0.4))
    spec = {"name": attack, "eps": eps, "norm": norm, "steps": 40, **extra}
    result = run_attack(sharp, images, labels, spec)
    assert abs(int(result.broken.sum()) - int((radius < eps).sum())) <= 1
    assert not result.broken[radius > eps * 1.0001].any()


def test_checkpoints_are_those_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (1, 2, 5, 30, 1000):
        found = checkpoints(steps)
        assert found == sorted(set(found))
        assert 0 < found[0] <= found[-1] <= steps
    assert checkpoints(1000)[:2] == [220, 410]


def _state(losses: list[float], scale: float = 1.0) -> Climb:
    """One image whose points are numbered as the losses are."""
    image = torch.zeros(1, 1, 1, 1)
    state = Climb(LinfRegion(image, 1.0), image, scale, steps=100)
    for step, loss in enumerate(losses):
        state.points = torch.full((1, 1, 1, 1), float(step))
        state.observe(torch.tensor([loss]), state.points * 10, step)
    return state


def test_a_climb_that_stalls_halves_its_step_and_goes_back_to_the_best() -> None:
    state = _state([0.0, 1.0, 5.0, 2.0, 3.0])  # three of four steps rose
    state.check(4)
    assert float(state.size) == 0.5
    assert (float(state.points), float(state.gradient)) == (2.0, 20.0)
    steady = _state([0.0, 1.0, 2.0, 3.0, 4.0])
    steady.check(4)
    assert (float(steady.size), float(steady.points)) == (1.0, 4.0)


def test_the_first_step_counts_as_a_rise_over_the_starting_point() -> None:
    # All losses are below 0, as the DLR loss is: a comparison with 0 would miss the first rise.
    state = _state([-5.0, -4.0, -3.0, -2.0, -2.5])
    assert int(state.rises) == 3
    falling = _state([5.0, 4.0, 3.0])
    assert int(falling.rises) == 0


def test_a_flat_stretch_halves_only_if_the_step_was_left_alone_before() -> None:
    state = _state([0.0, 1.0, 2.0, 3.0])
    state.check(3)
    assert float(state.size) == 1.0
    for loss in (1.0, 2.0, 2.5, 3.0):  # rising at every step but never above the best
        state.observe(torch.tensor([loss]), torch.zeros(1, 1, 1, 1), 9)
    state.check(3)
    assert float(state.size) == 0.5
    for loss in (1.0, 2.0, 2.5, 3.0):
        state.observe(torch.tensor([loss]), torch.zeros(1, 1, 1, 1), 9)
    state.check(3)
    assert float(state.size) == 0.5, "it was halved at the checkpoint before"


def test_a_loss_that_is_nan_is_never_the_best() -> None:
    state = _state([1.0, torch.nan, 0.5])
    assert (float(state.best_loss), float(state.best)) == (1.0, 0.0)
    blind = _state([torch.nan, 0.5])
    assert (float(blind.best_loss), float(blind.best)) == (0.5, 1.0)


def test_momentum_and_first_step() -> None:
    images = torch.full((1, 1, 1, 1), 0.5)
    state = Climb(LinfRegion(images, 0.4), images, 0.1, steps=100)
    state.gradient = torch.ones(1, 1, 1, 1)
    state.move(1.0)
    assert float(state.points) == pytest.approx(0.6)
    state.gradient = -state.gradient
    state.move(0.75)
    assert float(state.points) == pytest.approx(0.6 - 0.75 * 0.1 + 0.25 * 0.1)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_dlr_ignores_scale_and_shift(scale: float) -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % 6
    goals = torch.stack([labels, (labels + 1) % 6], dim=1)
    for loss, goal in ((dlr, labels), (targeted_dlr, goals)):
        assert torch.allclose(loss(logits * scale + 3, goal), loss(logits, goal), atol=1e-4)
    assert torch.equal(dlr(logits, labels) > 0, margin(logits, labels) < 0)


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[5.0, 3.0, 1.0, 0.0]])
    assert float(dlr(logits, torch.tensor([0]))) == pytest.approx(-2 / 4)
    assert float(dlr(logits, torch.tensor([1]))) == pytest.approx(2 / 4)
    assert float(dlr(logits, torch.tensor([3]))) == pytest.approx(5 / 4)
    goals = torch.tensor([[0, 2]])
    assert float(targeted_dlr(logits, goals)) == pytest.approx(-4 / 4.5)


def test_dlr_keeps_a_gradient_where_the_label_is_third() -> None:
    logits = torch.tensor([[5.0, 3.0, 1.0, 0.0]], requires_grad=True)
    for label in range(4):
        loss = dlr(logits, torch.tensor([label])).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient[0, label] < 0, "less of the label's logit is more loss"
    assert float(dlr(logits.detach(), torch.tensor([2]))) == 1.0


@pytest.mark.parametrize(
    ("attack", "classes", "word"),
    [
        ("apgd-dlr", 2, "3 classes"),
        ("apgd-t", 2, "4 classes"),
        ("apgd-t", 3, "4 classes"),
        ("apgd-t", 10, ""),
        ("apgd-dlr", 3, ""),
    ],
)
def test_few_classes_get_a_note(attack: str, classes: int, word: str) -> None:
    model, images, labels, radius = affine_case(classes, (1, 4, 4), "Linf")
    spec = {"name": attack, "eps": float(radius.median()), "steps": 5}
    for precision in ("fp32", "bf16"):
        notes = run_attack(model, images, labels, spec, precision=precision).notes
        assert sum("DLR" in note for note in notes) == bool(word)
        assert word in " ".join(notes)
        assert len(set(notes)) == len(notes)


def _batch(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    model, images, labels = trained()
    return model, images[:count], labels[:count]


def _specs(steps: int = 12) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"steps": steps, "restarts": 2}
    few = {"targets": 2, "restarts": 1}
    return [
        {"name": name, "norm": norm, "eps": eps, **shared, **(few if name == "apgd-t" else {})}
        for name in ATTACKS
        for norm, eps in (("Linf", 0.08), ("L2", 0.5))
    ]


@pytest.mark.parametrize("spec", _specs(), ids=lambda spec: f"{spec['name']}-{spec['norm']}")
def test_neither_batch_nor_order_matters(spec: dict[str, Any]) -> None:
    model, images, labels = _batch(30)
    whole = run_attack(model, images, labels, spec, seed=5)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    mixed = run_attack(model, images[order], labels[order], spec, seed=5)
    parts = [
        run_attack(model, images[i : i + 13], labels[i : i + 13], spec, seed=5)
        for i in range(0, 30, 13)
    ]
    assert 0 < int(whole.broken.sum()) < 30
    for field in ("broken", "backwards", "broken_at_step"):
        expected = getattr(whole, field)
        assert torch.equal(getattr(mixed, field), expected[order]), field
        assert torch.equal(torch.cat([getattr(part, field) for part in parts]), expected), field
    # A sign hides what the size of the batch does to the last bit of a gradient, a length not.
    slack = 0.0 if spec["norm"] == "Linf" else 1e-3
    joined = torch.cat([part.adversarial for part in parts])
    assert torch.allclose(joined, whole.adversarial, rtol=0, atol=slack)
    assert torch.allclose(mixed.adversarial, whole.adversarial[order], rtol=0, atol=slack)


@pytest.mark.parametrize("spec", _specs(), ids=lambda spec: f"{spec['name']}-{spec['norm']}")
def test_stays_in_ball_and_box_and_counts_its_work(spec: dict[str, Any]) -> None:
    model, images, labels = _batch(30)
    images = images.clone()
    seen: list[int] = []
    counting = Wrapped(model, before=lambda x: (seen.append(len(x)), x)[1])
    result = run_attack(counting, images, labels, spec)
    length = {"Linf": result.linf, "L2": result.l2}[spec["norm"]]
    assert (length <= spec["eps"] * (1 + 1e-6)).all()
    assert length[~result.broken].min() > spec["eps"] * 0.2, "a survivor keeps its hardest point"
    assert ((result.adversarial >= 0) & (result.adversarial <= 1)).all()
    assert torch.equal(model(result.adversarial).argmax(dim=1) != labels, result.broken)
    assert not result.notes
    assert covers(seen, int(result.forwards.sum()))
    attempts = spec.get("targets", spec["restarts"])
    assert (result.backwards[~result.broken] == 12 * attempts).all()
    assert [point.step for point in result.curve] == list(range(12 * attempts + 1))
    assert {point.broken for point in result.curve[-1:]} == {int(result.broken.sum())}
    assert result.curve[1].step_size == pytest.approx(2 * spec["eps"])
    assert result.curve[12].step_size < 2 * spec["eps"]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_eps_zero_changes_nothing(attack: str, norm: str) -> None:
    model, images, labels = _batch(10)
    spec = {"name": attack, "eps": 0, "norm": norm, "steps": 3}
    result = run_attack(model, images, labels, spec)
    assert torch.equal(result.adversarial, images)
    assert not result.notes


def test_a_loss_of_any_scale_leads_to_the_same_verdicts() -> None:
    model, images, labels = _batch(40)
    for attack in ATTACKS:
        for norm, eps in (("Linf", 0.06), ("L2", 0.4)):
            few = {"targets": 2} if attack == "apgd-t" else {}
            spec = {"name": attack, "eps": eps, "norm": norm, "steps": 10, **few}
            plain = run_attack(model, images, labels, spec)
            for factor in (1e-6, 1e3):
                scaled = Wrapped(model, after=lambda z, factor=factor: z * factor)
                other = run_attack(scaled, images, labels, spec)
                # The cross-entropy weighs its rivals by the scale; it must only not go blind.
                allowed = 3 if attack == "apgd-ce" else 1
                assert int((other.broken != plain.broken).sum()) <= allowed, (attack, norm, factor)


def test_targets_follow_the_clean_logits() -> None:
    images, labels = torch.full((2, 1, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    spec = {"name": "apgd-t", "eps": 0.3, "steps": 10}
    one = run_attack(Row(), images, labels, {**spec, "targets": 1})
    two = run_attack(Row(), images, labels, {**spec, "targets": 2})
    assert not one.broken.any()
    assert two.broken.all()
    assert (two.broken_at_step > 10).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_turns_to_nan_is_not_broken_by_it(attack: str) -> None:
    model, images, labels = _batch(20)

    def nan_when_moved(batch: Tensor) -> Tensor:
        moved = (batch.unsqueeze(1) - images.unsqueeze(0)).flatten(2).abs().amax(dim=2) > 0
        return torch.where(moved.all(dim=1).view(-1, 1, 1, 1), torch.nan, batch)

    right = (model(images).argmax(dim=1) == labels).detach()
    spec = {"name": attack, "eps": 0.3, "steps": 6}
    result = run_attack(Wrapped(model, before=nan_when_moved), images, labels, spec)
    assert torch.equal(result.broken, ~right)
    assert result.adversarial.isfinite().all()


def test_start_points_fill_the_ball() -> None:
    images = torch.full((4, 3, 5, 5), 0.5)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise[0, 0, 0, 0] = -1.0  # where the inverse error function is infinite
    box = LinfRegion(images, 0.1).start(noise) - images
    assert torch.allclose(box.abs().flatten(1).amax(dim=1), torch.tensor(0.1), atol=1e-6)
    ball = L2Region(images, 0.1).start(noise) - images
    assert torch.allclose(ball.flatten(1).norm(dim=1), torch.tensor(0.1), atol=1e-5)
    assert torch.equal(L2Region(images, 0.1).steepest(images * 0), images * 0)
    tiny = torch.full_like(images, 1e-30)
    assert torch.allclose(
        L2Region(images, 0.1).steepest(tiny).flatten(1).norm(dim=1), torch.ones(4)
    )


def test_norm_is_part_of_the_spec_and_eps_must_fit_it() -> None:
    assert make_attack({"name": "apgd-ce", "norm": "L2", "eps": 3}).norm == "L2"
    assert make_attack("apgd-ce").norm == "Linf"
    with pytest.raises(CrumpleError, match="up to 1 in Linf"):
        make_attack({"name": "apgd-t", "eps": 8})
