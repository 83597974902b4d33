"""A network that cuts its own gradient: its variants and its training go through the twin, too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.compression import Context, Variant, apply
from engine.diagnostics import (
    StraightThrough,
    choose_view,
    examine,
    followed_health,
    gradient_health,
)
from engine.errors import TrainingError
from engine.specs.choices import make_step
from engine.training.adversary import pgd_examples, trades_examples
from tests.helpers.attack_models import Wrapped, trained


def _detached() -> nn.Module:
    return Wrapped(trained()[0], before=lambda x: x.detach()).eval()


def _variant(*steps: dict[str, object]) -> Variant:
    images = trained()[1]
    return apply(_detached(), tuple(make_step(step) for step in steps), Context(images[:64]))


@pytest.mark.parametrize(
    "step",
    [{"name": "magnitude", "sparsity": 0.3}, {"name": "ptq", "bits": 4, "activation_bits": 4}],
    ids=lambda step: str(step["name"]),
)
def test_a_compressed_variant_is_searched_through_its_twin_like_its_base(
    step: dict[str, object],
) -> None:
    _, images, labels = trained()
    variant, base = _variant(step), _variant()
    choice = choose_view(
        variant.deployed(), variant.attack_view(), images[:64], labels[:64], base.attack_view()
    )
    assert choice.twins == ("straight-through",)
    assert {flag.id for flag in choice.report.flags} == {"straight-through-view"}
    cosine = choice.report.numbers["gradient_cosine"]
    assert cosine is not None
    assert cosine > 0.5, "with the twin of its base"


def test_a_parent_without_gradient_is_no_fault_of_a_variant() -> None:
    net, images, labels = trained()
    report = examine(net, net, images[:64], labels[:64], _detached())
    assert report.flags == ()
    assert report.numbers["gradient_cosine"] is None


def test_the_gate_of_a_step_looks_at_what_is_followed() -> None:
    net, images, labels = trained()
    assert gradient_health(_detached(), images, labels).flags()
    assert followed_health(_detached(), images, labels).flags() == ()
    assert followed_health(net, images, labels) == gradient_health(net, images, labels)


def _pgd(model: nn.Module) -> Tensor:
    _, images, labels = trained()
    generator = torch.Generator().manual_seed(0)
    return pgd_examples(model, images[:20], labels[:20], eps=0.1, steps=3, generator=generator)


def _trades(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return trades_examples(model, trained()[1][:20], eps=0.1, steps=3, generator=generator)


@pytest.mark.parametrize("search", [_pgd, _trades])
def test_adversarial_training_finds_the_examples_of_the_net_behind_the_cut(search: object) -> None:
    assert callable(search)
    found = search(_detached())
    assert torch.equal(found, search(trained()[0]))
    rounded = Wrapped(trained()[0], before=lambda x: (255 * x).round() / 255).eval()
    assert torch.equal(search(rounded), search(StraightThrough(rounded))), "zeros lead nowhere"


def test_a_net_that_no_twin_differentiates_is_told() -> None:
    through_numpy = Wrapped(
        trained()[0], before=lambda x: torch.from_numpy(x.detach().cpu().numpy().copy())
    )
    _, images, labels = trained()
    assert [one.id for one in followed_health(through_numpy, images, labels).flags()] == [
        "no-gradient"
    ]
    with pytest.raises(TrainingError, match="no gradient"):
        _pgd(through_numpy.eval())
