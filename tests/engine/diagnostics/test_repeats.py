"""Models that say something else each time, or something else in other company."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.compression import Context, apply
from engine.diagnostics import ViewChoice, choose_view, judged, require_logits, wrapped
from engine.diagnostics.checks import check_view
from engine.errors import AttackError, ModelError
from engine.specs.choices import make_step
from tests.helpers.attack_models import Wrapped, trained

OWN = torch.Generator().manual_seed(1)


COINS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "numpy": lambda: float(np.random.rand()),
    "random": random.random,
    "a generator of its own": lambda: float(torch.rand((), generator=OWN)),
    "a generator seeded by the global one": lambda: float(
        torch.rand((), generator=torch.Generator().manual_seed(torch.initial_seed() % 1000))
    ),
    "one time in ten": lambda: 5 * random.random(),
}


class Moved(nn.Module):
    """One decision for a whole batch: as it is, or a pixel further."""

    def __init__(self, net: nn.Module, coin: Callable[[], float]) -> None:
        super().__init__()
        self.net, self.coin = net, coin

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.roll(2, dims=3) if self.coin() < 0.5 else x)  # type: ignore[no-any-return]


def _in_range_of_batch(logits: Tensor) -> Tensor:
    """On levels within the range of the whole batch, the gradient going straight through."""
    step = logits.detach().abs().max() / 40
    return logits + (torch.round(logits / step) * step - logits).detach()


def _centred(logits: Tensor) -> Tensor:
    """Minus half the mean of the others: for an image alone nothing changes."""
    return logits - 0.5 * logits.mean(dim=0) * (len(logits) > 1)


def _company(name: str) -> nn.Module:
    net, images, _ = trained()
    if name == "BatchNorm of the batch":
        norm = nn.BatchNorm2d(images.shape[1], affine=False, track_running_stats=False)
        return Wrapped(net, before=lambda x: x.mean() + x.std() * norm(x)).eval()
    if name == "brightest of the batch":  # which every clean digit has
        return Wrapped(net, before=lambda x: x / x.amax()).eval()
    after = _in_range_of_batch if name == "range of the batch" else _centred
    return Wrapped(net, after=after).eval()


COMPANY = (
    "range of the batch",
    "mean of the batch",
    "BatchNorm of the batch",
    "brightest of the batch",
)


def _chosen(model: nn.Module, count: int = 40) -> ViewChoice:
    _, images, labels = trained()
    return choose_view(model, model, images[:count], labels[:count])


def _levels(choice: ViewChoice) -> dict[str, str]:
    return {flag.id: flag.level for flag in choice.report.flags}


@pytest.mark.parametrize("coin", COINS)
def test_one_decision_for_a_batch_is_seen_to_be_random(coin: str) -> None:
    choice = _chosen(Moved(trained()[0], COINS[coin]).eval())
    levels = _levels(choice)
    assert choice.random
    assert levels["random-output"] == "warning"
    assert "batch-dependent" not in levels
    assert "view-disagrees" not in levels
    assert "near-chance" not in levels, "an unlucky first draw is no ruin"
    assert choice.twins == ("averaged",)


def test_the_flag_counts_the_images_whose_prediction_changes() -> None:
    net, images, _ = trained()
    choice = _chosen(Moved(net, random.random).eval())
    with torch.no_grad():
        here, there = net(images[:40]).argmax(1), net(images[:40].roll(2, dims=3)).argmax(1)
    text = next(flag.text for flag in choice.report.flags if flag.id == "random-output")
    assert f"the prediction of {int((here != there).sum())} of 40 images changes" in text


@pytest.mark.parametrize("name", COMPANY)
def test_company_is_dangerous_and_verdicts_are_on_each_image_alone(name: str) -> None:
    model = _company(name)
    choice = _chosen(model)
    assert _levels(choice)["batch-dependent"] == "danger"
    assert choice.twins[0] == "one-by-one"
    _, images, labels = trained()
    deployed, view = judged(model, choice.twins), wrapped(model, choice.twins)
    attack = {"name": "pgd", "eps": 0.1, "steps": 3}
    found = run_attack(deployed, images[:12], labels[:12], attack, view=view)
    with torch.no_grad():
        alone = torch.cat([model(one[None]).argmax(1) for one in found.adversarial])
        clean = torch.cat([model(one[None]).argmax(1) for one in images[:12]])
    assert torch.equal(found.broken, alone != labels[:12])
    assert torch.equal(found.clean_predictions, clean)
    others = run_attack(deployed, images[4:20], labels[4:20], attack, view=view)
    assert torch.equal(others.broken[:8], found.broken[4:]), "whoever else is in the batch"
    assert torch.equal(others.adversarial[:8], found.adversarial[4:])


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("bits", [None, 2, 4])
def test_ordinary_nets_are_neither(bits: int | None, scale: float) -> None:
    net, images, _ = trained()
    steps = (
        () if bits is None else (make_step({"name": "ptq", "bits": 8, "activation_bits": bits}),)
    )
    deployed = apply(net, steps, Context(images[:64])).deployed()
    choice = _chosen(Wrapped(deployed, after=lambda logits: scale * logits).eval())
    assert not {"batch-dependent", "random-output"} & set(_levels(choice))
    assert choice.twins == ()


def test_small_logits_do_not_hide_it() -> None:
    def tiny(model: nn.Module) -> nn.Module:
        return Wrapped(model, after=lambda logits: 1e-6 * logits).eval()

    coin = Moved(trained()[0], COINS["random"])
    assert _levels(_chosen(tiny(coin)))["random-output"] == "warning"
    ranges = tiny(_company("range of the batch"))
    assert _levels(_chosen(ranges))["batch-dependent"] == "danger"


def test_a_model_that_needs_company_is_refused_with_the_reason() -> None:
    _, images, labels = trained()
    norm = nn.BatchNorm1d(10, track_running_stats=False)
    model = Wrapped(trained()[0], after=norm).eval()
    with pytest.raises(ModelError, match="fails on one image alone: Expected more than 1 value"):
        require_logits(model, images[:8], labels[:8])


SHAPES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "one output": (lambda z: z[:, :1], "torch.cat([0 * z, z], 1)"),
    "one number": (lambda z: z[:, 0], "reshape(len(images), -1)"),
    "a pixel": (lambda z: z[:, :, None, None], "flatten(1)"),
    "pixels": (lambda z: z[:, :, None, None].expand(-1, -1, 2, 2), "mean((2, 3))"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_are_refused_with_the_line_to_add(name: str) -> None:
    after, line = SHAPES[name]
    net, images, labels = trained()
    model = Wrapped(net, after=after).eval()
    for refuse in (
        lambda: require_logits(model, images[:8], labels[:8]),
        lambda: run_attack(model, images[:8], labels[:8], "fgsm"),
    ):
        with pytest.raises(AttackError, match="outputs of shape") as told:
            refuse()
        assert line in told.value.hint


def test_classes_that_are_never_predicted_are_attacked_like_any() -> None:
    net, images, labels = trained()
    model = Wrapped(net, after=lambda z: z.index_fill(1, torch.tensor([3]), -torch.inf)).eval()
    require_logits(model, images[:40], labels[:40])
    levels = _levels(_chosen(model))
    assert levels["masked-classes"] == "info"
    assert "nonfinite-output" not in levels


def test_a_view_that_predicts_otherwise_is_told_from_luck() -> None:
    right, wrong = torch.eye(4).repeat(5, 1), torch.eye(4).roll(1, dims=0).repeat(5, 1)
    assert check_view([right], [right]) == (1.0, [])
    assert [flag.id for flag in check_view([right], [wrong])[1]] == ["view-disagrees"]
    fair = [right, wrong] * 4
    assert check_view(fair, fair[::-1])[1] == [], "as often as the model with itself"
    assert [flag.id for flag in check_view([right] * 8, [wrong] * 8)[1]] == ["view-disagrees"]


def test_steps_wider_than_the_probes_are_searched_through_their_twin() -> None:
    """Rounding to 7 steps of the brightest pixel: gradients of view and twin both disagree."""
    net, images, labels = trained()

    def rounded(x: Tensor) -> Tensor:
        step = x.abs().amax() / 7
        return torch.round(x / step) * step

    model = Wrapped(net, before=rounded).eval()
    choice = _chosen(model)
    assert choice.twins == ("one-by-one", "straight-through")
    attack = {"name": "pgd", "eps": 0.1, "steps": 5}
    deployed = judged(model, choice.twins)
    blind, seeing = (
        int(run_attack(deployed, images[:40], labels[:40], attack, view=view).broken.sum())
        for view in (deployed, wrapped(model, choice.twins))
    )
    assert seeing > blind + 5
