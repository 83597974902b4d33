"""Diagnostics tell broken gradients and outputs from healthy ones."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.diagnostics import (
    Checked,
    Flag,
    examine,
    gradient_health,
    survivor_flags,
    survivor_rivals,
    transfer_check,
    transfer_flag,
    unconstrained,
)
from engine.diagnostics.checks import check_accuracy, tail
from engine.diagnostics.secants import MIN_AGREEMENT, SCALES, secant_agreement, secant_flag
from engine.diagnostics.unconstrained import (
    temperature,
    temperature_flag,
    unconstrained_flag,
    unconstrained_survivors,
)
from engine.specs.choices import make_attack
from tests.helpers.attack_models import Affine, Rounded, Wrapped, trained


def _rounded(straight_through: bool) -> nn.Module:
    """The trained net with its first activations on a few levels."""
    net, _, _ = trained()
    layers = list(net)
    return nn.Sequential(*layers[:3], Rounded(straight_through), *layers[3:]).eval()


def _ids(model: nn.Module, parent: nn.Module | None = None) -> dict[str, str]:
    _, images, labels = trained()
    report = examine(model, model, images[:100], labels[:100], parent)
    return {flag.id: flag.level for flag in report.flags}


def test_healthy_net_has_no_flags() -> None:
    net, images, labels = trained()
    report = examine(net, net, images, labels, net)
    assert report.flags == ()
    assert report.numbers["gradient_cosine"] == pytest.approx(1.0)
    assert report.numbers["view_agreement"] == 1.0


def test_rounding_without_straight_through_is_flagged() -> None:
    model = _rounded(straight_through=False)
    assert _ids(model, trained()[0])["zero-gradient"] == "danger"


def test_rounding_with_straight_through_is_not() -> None:
    net, images, labels = trained()
    model = _rounded(straight_through=True)
    assert "danger" not in _ids(model, net).values()
    health = gradient_health(model, images, labels, net)
    assert health.zero_fraction == 0
    assert health.cosine is not None
    assert health.cosine > 0.8


def test_transfer_exposes_the_rounded_net() -> None:
    net, images, labels = trained()
    attack = {"name": "pgd", "eps": 0.15, "steps": 10}
    parent = run_attack(net, images, labels, attack)
    masked, honest = _rounded(straight_through=False), _rounded(straight_through=True)
    # The naive net looks robust to the white-box attack ...
    whitebox = run_attack(masked, images, labels, attack)
    assert whitebox.broken.float().mean() < parent.broken.float().mean() / 2
    flag = transfer_flag(transfer_check(masked, parent.adversarial, labels, whitebox.broken))
    assert flag is not None
    assert flag.level == "danger"
    assert flag.text.startswith("Likely gradient masking")
    # ... and the straight-through twin does not.
    fair = run_attack(honest, images, labels, attack)
    assert transfer_flag(transfer_check(honest, parent.adversarial, labels, fair.broken)) is None


def test_transfer_numbers_by_hand() -> None:
    model = Affine(2, (1, 1, 1))
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[-1.0], [1.0]]))
        model.linear.bias.zero_()
    model.linear.bias.data[:] = torch.tensor([0.5, -0.5])  # class 1 above one half
    images = torch.tensor([0.9] * 7 + [0.1] * 3).view(10, 1, 1, 1)
    labels = torch.zeros(10, dtype=torch.int64)
    whitebox = torch.tensor([True] + [False] * 8 + [True])
    check = transfer_check(model, images, labels, whitebox)
    assert (check.total, check.rival, check.whitebox) == (10, 7, 2)
    assert (check.only_rival, check.only_whitebox) == (6, 1)
    assert check.p_value == pytest.approx((7 + 1) / 2**7)
    assert not check.lost
    assert transfer_flag(check) is None


@pytest.mark.full_check
def test_a_gradient_free_attack_exposes_missing_gradients_and_spares_a_healthy_net() -> None:
    net, images, labels = trained()
    images, labels = images[:64], labels[:64]
    spec = make_attack({"name": "pgd", "eps": 0.15, "steps": 20})
    rival = survivor_rivals(spec, (), doubted=False)[0].attack
    for model, flagged in ((_rounded(straight_through=False), True), (net, False)):
        left = ~run_attack(model, images, labels, spec).broken
        broken = run_attack(model, images[left], labels[left], rival).broken
        check = Checked("square", "square", len(broken), broken.nonzero().flatten().tolist())
        assert [flag.id for flag in survivor_flags([check])] == ["black-box-stronger"] * flagged


@pytest.mark.parametrize(("k", "n", "p"), [(0, 5, 0.5), (5, 5, 0.5), (3, 10, 0.1), (30, 200, 0.1)])
def test_tail_is_the_binomial_tail(k: int, n: int, p: float) -> None:
    exact = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))
    assert tail(k, n, p) == pytest.approx(exact)


@pytest.mark.parametrize("end", ["before", "after"])
def test_missing_gradient_is_flagged(end: str) -> None:
    cut = Wrapped(trained()[0], **{end: lambda values: values.detach()})
    assert _ids(cut) == {"no-gradient": "danger"}


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise RuntimeError("derivative for quantised conv is not implemented")


def test_backward_that_raises_is_flagged_with_the_reason() -> None:
    net, images, labels = trained()
    view = Wrapped(net, before=_NoBackward.apply)
    flags = gradient_health(view, images, labels).flags()
    assert [flag.id for flag in flags] == ["no-gradient"]
    assert "not implemented" in flags[0].text


def test_nonfinite_gradient_is_flagged() -> None:
    net = trained()[0]
    view = Wrapped(net, before=lambda x: x + (x - x).sqrt())
    assert _ids(view)["nonfinite-gradient"] == "danger"


def test_saturated_cross_entropy_is_told_from_missing_gradients() -> None:
    flags = _ids(Wrapped(trained()[0], after=lambda z: z * 1000))
    assert flags == {"saturated-loss": "warning", "logit-scale": "warning"}


@pytest.mark.parametrize("factor", [0.001, 0.1, 1.0, 1000.0])
def test_the_temperature_test_finds_the_scale_and_what_it_costs(factor: float) -> None:
    net, images, labels = trained()
    model = Wrapped(net, after=lambda z: factor * z)
    found = temperature(model, images[:64], labels[:64])
    fair = temperature(net, images[:64], labels[:64])
    assert found.divisor == pytest.approx(factor * fair.divisor, rel=1e-4)
    assert found.rescaled == fair.rescaled, "the rescaled side does not depend on the scale"
    assert 0.1 < found.rescaled / found.total < 0.9, "where all break nothing can be told"
    flag = temperature_flag(found)
    assert bool(flag) == (factor != 1)
    if flag:
        assert found.plain < found.rescaled
        assert f"{found.rescaled}/64" in flag.text


def test_the_climb_of_the_temperature_test_spends_no_pass_on_what_broke() -> None:
    """Images do not meet each other, so those that are left go the way they went before."""
    net, images, labels = trained()
    images, labels = images[:64], labels[:64]
    rows: list[int] = []
    eps = unconstrained.TEMPERATURE_EPS[0]
    model = Wrapped(net, before=lambda x: (rows.append(len(x)), x)[1])
    found = unconstrained._climb(model, images, labels, eps)
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]
    points, broken = images, torch.zeros_like(labels, dtype=torch.bool)
    stride = 2.5 * eps / unconstrained.TEMPERATURE_STEPS
    for _ in range(unconstrained.TEMPERATURE_STEPS):
        leaf = points.clone().requires_grad_()
        logits = net(leaf)
        broken |= logits.argmax(dim=1) != labels
        (gradient,) = torch.autograd.grad(
            torch.nn.functional.cross_entropy(logits, labels, reduction="sum"), leaf
        )
        points = (points + stride * gradient.sign()).clip(
            images - eps, images + eps
        ).clip(0, 1)  # fmt: skip
    broken |= net(points).argmax(dim=1) != labels
    assert found.tolist() == broken.tolist()


@pytest.mark.parametrize(("width", "probed"), [(1, 64), (4, 50), (64, 16)])
def test_large_networks_are_probed_on_fewer_images(
    width: int, probed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 8 x 8 pixels x width channels x 9 weights, and the linear layer behind them
    # By import, since the package has a function of the same name.
    gate = importlib.import_module("engine.diagnostics.examine")
    monkeypatch.setattr(gate, "_BUDGET", 50 * (64 * 4 * 9 + 64 * 4 * 3))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.Flatten(), nn.Linear(64 * width, 3)
    ).eval()
    images = torch.rand(80, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = net(images).argmax(dim=1)
    assert examine(net, net, images, labels).numbers["probed_images"] == probed


def test_own_attacks_do_not_depend_on_the_scale_of_the_logits() -> None:
    """Why the temperature test compares the plain cross-entropy and not the attack of the run."""
    net, images, labels = trained()
    attack = {"name": "pgd", "eps": 0.1, "steps": 20}
    plain = run_attack(net, images[:64], labels[:64], attack).broken
    loud = Wrapped(net, after=lambda z: 1000 * z)
    assert int(run_attack(loud, images[:64], labels[:64], attack).broken.sum()) >= plain.sum() - 2


def test_secants_agree_exactly_with_an_affine_model_and_not_with_steps() -> None:
    model = Affine(2, (1, 4, 4))
    images = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(dim=1)
    assert secant_agreement(model, images, labels) == pytest.approx(1.0, abs=1e-3)

    class Fractions(nn.Module):
        def __init__(self, period: float) -> None:
            super().__init__()
            self.period = period

        def forward(self, x: Tensor) -> Tensor:
            # Slope 1 everywhere, but a move of 1.5 periods goes up or down by half of one.
            return model(x - (x / self.period).floor() * self.period)

    large, small = SCALES
    # Smooth, though bent within the large step: no alarm.
    bent = Wrapped(model, before=lambda x: x + 0.5 * large * torch.sin(2 * math.pi * x / large))
    assert secant_agreement(bent, images, labels) > 0.8
    saw = secant_agreement(Fractions(small / 1.5), images, labels)
    assert saw is not None
    assert abs(saw) < MIN_AGREEMENT
    flag = secant_flag(saw)
    assert flag is not None
    assert f"{saw:.2f}" in flag.text
    assert secant_agreement(Wrapped(model, before=lambda x: 0 * x), images, labels) is None


def test_an_unconstrained_attack_that_fails_is_counted() -> None:
    net, images, labels = trained()
    assert unconstrained_survivors(net, net, images[:64], labels[:64]) == 0
    blind = _rounded(straight_through=False)
    left = unconstrained_survivors(blind, blind, images[:64], labels[:64])
    right = blind(images[:64]).argmax(dim=1) == labels[:64]
    assert left == int(right.sum()), "noise at the start would break some without any gradient"
    flag = unconstrained_flag(left, 64)
    assert flag is not None
    assert f"leaves {left} of 64" in flag.text
    # The same model, searched on a view with a gradient.
    seeing = _rounded(straight_through=True)
    assert unconstrained_survivors(blind, seeing, images[:64], labels[:64]) == 0


def test_a_random_model_need_not_agree_with_its_view_more_than_with_itself() -> None:
    net = trained()[0]
    wild = Wrapped(net, before=lambda x: x + 0.3 * torch.randn_like(x))
    assert "view-disagrees" not in _ids(wild)


def test_random_output_is_flagged() -> None:
    net = trained()[0]
    noisy = Wrapped(net, before=lambda x: x + 0.01 * torch.randn_like(x))
    assert _ids(noisy) == {"random-output": "warning"}


def test_probabilities_are_flagged() -> None:
    flags = _ids(Wrapped(trained()[0], after=lambda z: z.softmax(dim=1)))
    assert flags["probabilities"] == "warning"
    assert "probabilities" not in _ids(Wrapped(trained()[0], after=lambda z: z.log_softmax(dim=1)))


def test_nonfinite_output_is_flagged() -> None:
    flags = _ids(Wrapped(trained()[0], after=lambda z: z / (z - z)))
    assert flags["nonfinite-output"] == "danger"


def test_guessing_is_flagged() -> None:
    constant = Wrapped(trained()[0], after=lambda z: 0 * z + torch.eye(10)[3])
    assert _ids(constant)["near-chance"] == "danger"


@pytest.mark.parametrize(("right", "flagged"), [(20, True), (47, True), (77, False), (250, False)])
def test_a_ruined_variant_is_flagged_a_weak_one_is_not(right: int, flagged: bool) -> None:
    labels = torch.zeros(256, dtype=torch.int64)
    predictions = torch.cat([labels[:right], labels[right:] + 1])
    flags = check_accuracy(torch.eye(10)[predictions], labels)
    assert bool(flags) == flagged


SVHN = (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595)
"""Labels of its test images; the digit 1 is every fifth."""


@pytest.mark.parametrize(
    ("counts", "answer", "mended", "flagged"),
    [
        (SVHN, 1, 0, True),
        ((60, 60), 0, 0, True),
        ((60, 60), 0, 45, False),  # 105 of 120, half of them by guessing
        ((60, 60), 0, 10, True),
        ((190, 10), 0, 0, True),
        ((190, 10), 0, 10, False),
        ((6, 5), 1, 0, True),
        ((5, 1), 0, 1, False),  # too few to say how frequent the labels are
    ],
)
def test_a_network_that_does_not_look_is_flagged(
    counts: tuple[int, ...], answer: int, mended: int, flagged: bool
) -> None:
    """It answers one class, and is right about so many images of others besides."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    predictions = torch.full_like(labels, answer)
    others = (labels != answer).nonzero()[:mended, 0]
    predictions[others] = labels[others]
    flags = check_accuracy(torch.eye(10)[predictions], labels)
    assert bool(flags) == flagged
    if flagged and not mended:
        assert f"only class {answer} is ever predicted" in flags[0].text


def test_one_class_for_everything_is_flagged_however_many_are_right() -> None:
    labels = torch.arange(30) % 10
    labels[:8] = 3
    flags = check_accuracy(torch.eye(10)[torch.full((30,), 3)], labels)
    assert [flag.id for flag in flags] == ["near-chance"]
    assert check_accuracy(torch.eye(10)[labels], labels) == []


def test_opposite_gradients_are_flagged() -> None:
    net = trained()[0]

    class _Flip(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return -gradient

    assert _ids(Wrapped(net, before=_Flip.apply), net) == {
        "gradient-disagrees": "warning",
        "secants-disagree": "warning",
        "unconstrained-survives": "danger",
    }


def test_view_of_another_model_is_flagged() -> None:
    net, images, labels = trained()
    other = Wrapped(net, after=lambda z: z.roll(1, dims=1))
    ids = [flag.id for flag in examine(net, other, images, labels).flags]
    assert "view-disagrees" in ids


def test_modes_come_back_from_an_examination() -> None:
    net = trained()[0]
    copy = nn.Sequential(*net).train()
    try:
        _ids(copy)
        assert all(part.training for part in copy.modules())
        assert all(parameter.requires_grad for parameter in copy.parameters())
    finally:
        net.eval()


def test_flag_survives_json() -> None:
    flag = Flag("zero-gradient", "danger", "text")
    assert Flag.from_dict(flag.to_dict()) == flag
