"""What run_attack promises for every attack: honest verdicts, nothing left behind."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from engine import catalog
from engine.attacks import StepPoint, autoattack, run_attack
from engine.attacks.geometry.ball import Threat, linf_bounds
from engine.attacks.registry import REGISTRY, create
from engine.attacks.search import batching
from engine.attacks.search.noise import ImageNoise
from engine.attacks.search.search import Search
from engine.catalog.attacks.gradient_free import AutoAttackParams
from engine.errors import AttackError, Cancelled, CrumpleError
from engine.evaluation.guard import arithmetic
from engine.specs.choices import make_attack
from tests.helpers.attack_models import Affine, Wrapped, covers, small_net, trained

OWN = ("fgsm", "pgd")
ALL = (*OWN, "torchattacks.PGD")


def _batch(count: int = 24) -> tuple[nn.Module, Tensor, Tensor]:
    model, images, labels = trained()
    return model, images[:count], labels[:count]


def test_registry_and_catalogue_match() -> None:
    own = {id_ for id_ in catalog.section("attacks") if not id_.startswith("torchattacks.")}
    assert own == set(REGISTRY)


@pytest.mark.parametrize("id_", list(REGISTRY))
def test_every_attack_takes_the_parameters_of_its_entry(id_: str) -> None:
    kinds = REGISTRY[id_].__mro__
    taken = next(base.__orig_bases__ for base in kinds if "__orig_bases__" in vars(base))
    (asked,) = get_args(taken[0])
    assert issubclass(catalog.find("attacks", id_).params, asked)


def test_the_parts_of_an_attack_are_those_of_its_entry() -> None:
    ball = make_attack({"name": "autoattack", "eps": 0.3, "norm": "L2"})
    attacks = autoattack.parts(AutoAttackParams.model_validate(ball.params))
    names = catalog.find("attacks", "autoattack").parts
    for name, attack in zip(names, attacks, strict=True):
        spec = make_attack({"name": name, "eps": 0.3, "norm": "L2"})
        assert repr(attack) == repr(create(spec))


@pytest.mark.parametrize("id_", list(catalog.section("attacks")))
def test_every_catalogue_attack_can_be_made_and_shows_its_parameters(id_: str) -> None:
    spec = make_attack(id_)
    shown = repr(create(spec))
    for key, value in spec.params.items():
        assert f"{key}={value!r}" in shown


@pytest.mark.parametrize("attack", OWN)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_batch_size_does_not_matter(attack: str, size: int) -> None:
    model, images, labels = _batch(70)
    spec = {"name": attack, "eps": 0.1}
    whole = run_attack(model, images, labels, spec, seed=5)
    parts = [
        run_attack(model, images[i : i + size], labels[i : i + size], spec, seed=5)
        for i in range(0, 70, size)
    ]
    joined = {
        field: torch.cat([getattr(part, field) for part in parts])
        for field in ("broken", "forwards", "backwards", "broken_at_step", "adversarial")
    }
    for field in ("broken", "broken_at_step", "adversarial"):
        assert torch.equal(joined[field], getattr(whole, field)), field
    for field in ("forwards", "backwards"):
        # When a cycle is noticed hangs on the last bit of a loss, and that on the batch.
        assert (joined[field] - getattr(whole, field)).abs().max() <= 8, field
        assert torch.equal(joined[field][whole.broken], getattr(whole, field)[whole.broken])


@pytest.mark.parametrize("attack", OWN)
def test_order_does_not_matter(attack: str) -> None:
    model, images, labels = _batch(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    spec = {"name": attack, "eps": 0.1}
    straight = run_attack(model, images, labels, spec)
    mixed = run_attack(model, images[order], labels[order], spec)
    assert torch.equal(mixed.broken, straight.broken[order])
    assert torch.equal(mixed.adversarial, straight.adversarial[order])


def test_seed_matters_and_repeats() -> None:
    model, images, labels = _batch()
    spec = {"name": "pgd", "eps": 0.05, "steps": 2, "step_size": 0.01}
    one, same, other = (run_attack(model, images, labels, spec, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.adversarial, same.adversarial)
    assert not torch.equal(one.adversarial, other.adversarial)


@pytest.mark.parametrize("attack", ALL)
def test_eps_zero_changes_nothing(attack: str) -> None:
    model, images, labels = _batch()
    result = run_attack(model, images, labels, {"name": attack, "eps": 0})
    assert torch.equal(result.adversarial, images)
    assert torch.equal(result.broken, model(images).argmax(dim=1) != labels)
    assert not result.notes


@settings(max_examples=30, deadline=None)
@given(
    eps=st.floats(1e-4, 1.0),
    seed=st.integers(0, 1000),
    attack=st.sampled_from(ALL),
    step=st.sampled_from([0.001, 0.03, 1.0]),
)
def test_examples_stay_in_ball_and_box(eps: float, seed: int, attack: str, step: float) -> None:
    images = torch.rand(6, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    images[images < 0.1], images[images > 0.9] = 0.0, 1.0
    model = Affine(4, (2, 3, 3), seed)
    labels = model(images).argmax(dim=1)
    size = {"fgsm": {}, "pgd": {"step_size": step}, "torchattacks.PGD": {"alpha": step}}[attack]
    spec = {"name": attack, "eps": eps, **size, **({} if attack == "fgsm" else {"steps": 4})}
    result = run_attack(model, images, labels, spec)
    delta = (result.adversarial.double() - images.double()).abs().flatten(1).amax(dim=1)
    assert (delta <= eps * (1 + 1e-6)).all()
    assert ((result.adversarial >= 0) & (result.adversarial <= 1)).all()
    assert torch.allclose(result.linf.double(), delta, atol=1e-7)
    refused = [note for note in result.notes if "usual size" not in note]
    assert not refused, "for rounding"
    logits = model(result.adversarial).detach()
    assert torch.equal(logits.argmax(dim=1) != labels, result.broken)
    assert torch.equal(logits.argmax(dim=1), result.adversarial_predictions)
    assert torch.allclose(logits.softmax(1).amax(1), result.adversarial_confidence, atol=1e-5)


@given(eps=st.floats(0, 1), seed=st.integers(0, 100))
def test_bounds_are_inside_and_as_wide_as_float_allows(eps: float, seed: int) -> None:
    images = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    for bound in linf_bounds(images, eps):
        assert ((bound.double() - images.double()).abs() <= eps).all()
        wide = (bound == 0) | (bound == 1) | ((bound - images).abs() >= eps - 1.2e-7)
        assert wide.all()


def test_noise_belongs_to_the_image() -> None:
    _, images, labels = _batch(5)
    rows = torch.arange(5)
    whole = ImageNoise(images, labels, seed=1).uniform(rows, restart=0)
    assert whole.shape == images.shape
    assert whole.abs().max() <= 1
    assert whole.std() > 0.5
    alone = ImageNoise(images[3:4], labels[3:4], seed=1).uniform(torch.tensor([0]), restart=0)
    assert torch.equal(alone[0], whole[3])
    twins = torch.zeros(2, 1, 8, 8)
    others = (
        ImageNoise(images, labels, seed=1).uniform(rows, restart=1),
        ImageNoise(images, labels, seed=2).uniform(rows, restart=0),
        ImageNoise(images * 0.5, labels, seed=1).uniform(rows, restart=0),
        ImageNoise(images, labels + 1, seed=1).uniform(rows, restart=0),
    )
    assert not any(torch.isclose(other, whole).float().mean() > 0.1 for other in others)
    same = ImageNoise(twins, labels[:1].repeat(2), seed=1).uniform(torch.arange(2), restart=0)
    assert torch.equal(same[0], same[1])


def test_noise_is_uniform_and_independent_from_image_to_image() -> None:
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = ImageNoise(images, torch.zeros(200, dtype=torch.int64), seed=0)
    drawn = noise.uniform(torch.arange(200), restart=0).flatten(1).double()
    assert stats.kstest(drawn.flatten(), "uniform", (-1, 2)).pvalue > 0.01
    # Standard deviation of a correlation of 64 values: 1/8; 19,900 pairs reach 4.4 of them.
    apart = torch.corrcoef(drawn).fill_diagonal_(0.0)
    assert apart.abs().max() < 0.6
    assert apart.std() == pytest.approx(1 / 8, rel=0.1)
    # Small tables have as many bits: the last digits are no zeros.
    assert (noise.table(torch.arange(200), "few", (2,)) * 2**24 % 2).mean() > 0.3


@pytest.mark.parametrize("exact", [False, True])
def test_exact_arithmetic_on_a_gpu_knows_no_tf32(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "allow_tf32", True)
    monkeypatch.setattr(flags, "benchmark", True)
    with arithmetic(torch.device("cuda"), exact=exact):
        assert flags.allow_tf32 is not exact
        assert flags.deterministic
        assert not flags.benchmark
    assert flags.allow_tf32
    assert not flags.deterministic
    assert flags.benchmark


class _SameBuffer(nn.Module):
    """Writes its logits into the same memory at every forward, as a captured graph does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.buffer = model, torch.zeros(0)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        if len(self.buffer) < len(logits):
            self.buffer = torch.zeros_like(logits)
        self.buffer[: len(logits)] = logits
        return self.buffer[: len(logits)]


@pytest.mark.parametrize("fits", [40, 15])
def test_a_model_may_reuse_the_memory_of_its_logits(fits: int) -> None:
    model, images, labels = _batch(40)
    reusing = _SameBuffer(model)
    batching._FITS[reusing] = fits
    options: dict[str, Any] = {"seed": 0, "observer": None, "should_stop": None}
    search = Search(reusing, model, images, labels, Threat("Linf", 0.1), **options)
    search.judge(torch.arange(40), (images + 0.1).clamp(max=1), step=1)
    # The later parts of AutoAttack rank their targets by these.
    assert torch.allclose(search.clean.logits, model(images), atol=1e-5)


class _Odd(nn.Module):
    """Draws random numbers in its forward; fails, or gives NaN, from some call on."""

    def __init__(self, fail_at: int = 0, nan_at: int = 0) -> None:
        super().__init__()
        self.net = small_net()
        self.calls, self.fail_at, self.nan_at = 0, fail_at, nan_at

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        torch.rand(1), np.random.rand(), random.random()
        if self.calls == self.fail_at:
            raise KeyError("broken model")
        logits: Tensor = self.net(images)
        return logits * torch.nan if self.nan_at and self.calls >= self.nan_at else logits


def _state(model: nn.Module) -> list[Any]:
    return [
        [part.training for part in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [p.grad is None for p in model.parameters()],
        [t.clone() for t in model.state_dict().values()],
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
    ]


def _same(one: list[Any], other: list[Any]) -> bool:
    tensors = all(torch.equal(a, b) for a, b in zip(one[3], other[3], strict=True))
    return tensors and one[:3] + one[4:] == other[:3] + other[4:]


@pytest.mark.parametrize("attack", ALL)
@pytest.mark.parametrize("fail_at", [0, 1, 3])
def test_nothing_is_left_behind(attack: str, fail_at: int) -> None:
    _, images, _ = _batch(8)
    model = _Odd(fail_at).train()
    model.net[1].eval()
    next(model.parameters()).requires_grad_(False)
    labels = model.net.eval()(images).argmax(dim=1)
    model.net.train()[1].eval()
    before, kept = _state(model), (images.clone(), labels.clone())
    if fail_at:
        with pytest.raises(KeyError):
            run_attack(model, images, labels, attack)
    else:
        run_attack(model, images, labels, attack)
    assert _same(before, _state(model))
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])


@pytest.mark.parametrize("attack", ALL)
def test_nan_outputs_are_failures_not_successes(attack: str) -> None:
    _, images, _ = _batch(8)
    model = _Odd(nan_at=2).eval()
    labels = model.net(images).argmax(dim=1)
    result = run_attack(model, images, labels, {"name": attack, "eps": 0.3})
    assert not result.broken.any()
    assert torch.equal(result.adversarial, images)
    assert any("Attack failure on 8 images" in note for note in result.notes)


@pytest.mark.parametrize("attack", ALL)
def test_nan_on_clean_images_counts_as_broken(attack: str) -> None:
    _, images, labels = _batch(8)
    result = run_attack(_Odd(nan_at=1), images, labels, attack)
    assert result.broken.all()
    assert (result.broken_at_step == 0).all()
    assert (result.clean_predictions == -1).all()
    assert torch.isfinite(result.clean_confidence).all()


@pytest.mark.parametrize("attack", ALL)
def test_verdict_is_the_deployed_models(attack: str) -> None:
    """The view breaks easily; the deployed model adds a constant that nothing overcomes."""
    model, images, _labels = _batch(40)
    right = model(images).argmax(dim=1)
    stubborn = Wrapped(model, after=lambda z: z + 1e4 * nn.functional.one_hot(right[: len(z)], 10))
    result = run_attack(stubborn, images[:1], right[:1], {"name": attack, "eps": 0.9}, view=model)
    assert not result.broken.any()
    assert result.broken_at_step.tolist() == [-1]
    alone = run_attack(model, images[:1], right[:1], {"name": attack, "eps": 0.9})
    assert alone.broken.all()


def test_clean_mistakes_are_not_attacked() -> None:
    model, images, _labels = _batch()
    wrong = (model(images).argmax(dim=1) + 1) % 10
    result = run_attack(model, images, wrong, "pgd")
    assert result.broken.all()
    assert torch.equal(result.adversarial, images)
    assert (result.forwards == 1).all()
    assert (result.backwards == 0).all()


@pytest.mark.parametrize("attack", ALL)
def test_forwards_are_those_the_model_saw(attack: str) -> None:
    model, images, labels = _batch(30)
    seen: list[int] = []
    counting = Wrapped(model, before=lambda x: (seen.append(len(x)), x)[1])
    result = run_attack(counting, images, labels, {"name": attack, "eps": 0.1})
    assert covers(seen, int(result.forwards.sum()))
    assert int(result.backwards.sum()) > 0


@pytest.mark.parametrize("eps", [0.1, 0.5], ids=["some hold", "all break"])
@pytest.mark.parametrize("attack", ALL)
def test_telemetry_agrees_with_the_result(attack: str, eps: float) -> None:
    model, images, labels = _batch(60)
    points: list[StepPoint] = []
    result = run_attack(model, images, labels, {"name": attack, "eps": eps}, observer=points.append)
    assert [p.step for p in points] == [p.step for p in result.curve]
    assert [p.step for p in points] == list(range(len(points)))
    for point in result.curve:
        expected = int(((result.broken_at_step >= 0) & (result.broken_at_step <= point.step)).sum())
        assert (point.broken, point.active) == (expected, 60 - expected)
    assert result.curve[-1].broken == points[-1].broken == int(result.broken.sum())
    if attack in OWN:
        for live, point in zip(points, result.curve, strict=True):
            # A verdict can come a few steps after the step that it belongs to.
            assert live.broken <= point.broken
            same = {"broken": point.broken, "active": point.active}
            assert dataclasses.replace(live, **same) == point
        assert points[-1].backwards == int(result.backwards.sum())


def test_pgd_loss_rises_and_margin_falls() -> None:
    model, images, _labels = _batch(60)
    right = model(images).argmax(dim=1)
    attack = {"name": "pgd", "eps": 0.005, "steps": 8}
    # Means over the same images all along: those that nothing breaks.
    strong = ~run_attack(model, images, right, attack).broken
    curve = run_attack(model, images[strong], right[strong], attack).curve
    assert curve[-1].broken == 0
    assert curve[-1].loss > curve[0].loss > 0
    assert curve[-1].margin < curve[0].margin
    assert curve[3].step_size == pytest.approx(2.5 * 0.005 / 8)


@pytest.mark.parametrize("attack", ALL)
@pytest.mark.parametrize("polls", [0, 1, 2])
def test_cancel(attack: str, polls: int) -> None:
    model, images, labels = _batch(8)
    left = [polls]

    def should_stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    before = _state(model)
    with pytest.raises(Cancelled):
        run_attack(model, images, labels, {"name": attack, "eps": 0.01}, should_stop=should_stop)
    assert _same(before, _state(model))


def test_bf16_search_keeps_fp32_verdicts() -> None:
    model, images, labels = _batch(60)
    spec = {"name": "pgd", "eps": 0.1, "steps": 10}
    fast = run_attack(model, images, labels, spec, precision="bf16")
    exact = run_attack(model, images, labels, spec, precision="fp32")
    assert fast.precision == "bf16"
    survived = ~fast.broken
    assert survived.any()
    # An eighth of the steps finishes in fp32; less is spent where bf16 believed in an example.
    spent = fast.backwards[survived]
    assert spent.max() == 10 + 2
    assert spent.min() >= 10
    assert torch.equal(model(fast.adversarial).argmax(dim=1) != labels, fast.broken)
    assert int(fast.broken.sum()) >= int(exact.broken.sum()) - 1
    assert not torch.equal(fast.adversarial, exact.adversarial)


@pytest.mark.parametrize("attack", ALL)
def test_works_inside_no_grad_and_autocast(attack: str) -> None:
    model, images, labels = _batch(20)
    spec = {"name": attack, "eps": 0.1}
    plain = run_attack(model, images, labels, spec)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        wrapped = run_attack(model, images, labels, spec)
    assert torch.equal(wrapped.adversarial, plain.adversarial)


@pytest.mark.parametrize("attack", ALL)
def test_empty_batch(attack: str) -> None:
    model, images, labels = _batch(0)
    result = run_attack(model, images, labels, attack)
    assert result.adversarial.shape == (0, 1, 8, 8)
    assert result.broken.dtype == torch.bool
    assert result.forwards.dtype == torch.int64
    assert len(result.broken) == len(result.l2) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x * 255, y), "must be finite and in [0, 1]"),
        (lambda x, y: (x * torch.nan, y), "must be finite and in [0, 1]"),
        (lambda x, y: (x - 1, y), "must be finite and in [0, 1]"),
        (lambda x, y: (x.double(), y), "must be float32"),
        (lambda x, y: (x[0], y), "must be float32 of shape (N, C, H, W)"),
        (lambda x, y: (x, y[1:]), "labels are torch.int64 of shape (7,)"),
        (lambda x, y: (x, y.float()), "must be int64"),
        (lambda x, y: (x, y + 10), "the model has 10 classes"),
        (lambda x, y: (x, y - 10), "must not be negative"),
    ],
)
def test_bad_input_gets_one_clear_sentence(change: Any, message: str) -> None:
    model, images, labels = _batch(8)
    with pytest.raises(AttackError) as caught:
        run_attack(model, *change(images, labels), "fgsm")
    assert message in str(caught.value)


@pytest.mark.parametrize("attack", ALL)
def test_views_without_gradient_are_refused(attack: str) -> None:
    model, images, labels = _batch(8)
    for view in (
        Wrapped(model, after=lambda z: z.detach()),
        Wrapped(model, before=lambda x: x.detach()),
    ):
        with pytest.raises(AttackError, match="gradient"):
            run_attack(model, images, labels, attack, view=view)


@pytest.mark.parametrize("attack", ["pgdd", {"name": "pgd", "eps": -1}, {"name": "pgd", "n": 1}])
def test_bad_attacks_are_refused(attack: Any) -> None:
    model, images, labels = _batch(8)
    with pytest.raises(CrumpleError):
        run_attack(model, images, labels, attack)


def test_memory_is_shared_out_in_halves() -> None:
    model, images, labels = _batch(30)

    def small_memory(batch: Tensor) -> Tensor:
        if len(batch) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return batch

    tight = Wrapped(model, before=small_memory)
    for attack in ALL:
        spec = {"name": attack, "eps": 0.1}
        result = run_attack(tight, images, labels, spec)
        expected = run_attack(model, images, labels, spec)
        if attack in OWN:
            assert torch.equal(result.broken, expected.broken)
        assert not result.notes


def test_points_outside_the_ball_never_win_by_the_last_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Cheat:
        """Shows points outside the ball to a view that sees nothing wrong in them."""

        def run(self, search: Any, pass_: Any) -> None:
            rows = search.survivors()
            loss = torch.ones(len(rows))
            search.keep_best(rows, 1 - search.images[rows], loss, torch.ones_like(rows))

    model, images, labels = _batch()
    monkeypatch.setattr("engine.attacks.run.create", lambda spec: Cheat())
    blind = Wrapped(model, before=lambda x: x * 1e-3, after=lambda z: z * 0)
    right = Wrapped(blind, after=lambda z: z + nn.functional.one_hot(labels[: len(z)], 10) * 9.0)
    kept = model(images).argmax(dim=1) == labels
    result = run_attack(
        model, images[kept], labels[kept], {"name": "fgsm", "eps": 0.01}, view=right
    )
    assert not result.broken.any()
    assert torch.equal(result.adversarial, images[kept])
    assert torch.equal(result.adversarial_predictions, result.clean_predictions)
    assert "left the box or the ball" in " ".join(result.notes)
