"""Mixed images and smoothed labels against their definitions, class by class in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.training.objectives import InnerSearch, PgdAt
from engine.training.softening import HARD, Softening
from tests.helpers.distillation_case import IMAGES, LABELS, Linear, ce, generator, softmax

THREAT = InnerSearch(eps=0.1, steps=2)


def smoothed(row: list[float], label: int, eps: float) -> float:
    """The label has 1 - eps, each of the K - 1 others eps / (K - 1)."""
    others = eps / (len(row) - 1)
    probabilities = softmax(row)
    return -sum(
        (1 - eps if place == label else others) * math.log(p)
        for place, p in enumerate(probabilities)
    )


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
def test_smoothing_gives_the_label_no_part_of_what_it_leaves(classes: int, eps: float) -> None:
    logits = torch.randn(4, classes, generator=generator(), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    batch = Softening(smoothing=eps).batch(torch.zeros(4, 1, 1, 1), labels, generator())
    wanted = [smoothed(z, y, eps) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    assert batch.cross_entropy(logits).item() == pytest.approx(sum(wanted) / 4, rel=1e-12)


def test_without_softening_nothing_is_drawn_and_nothing_differs() -> None:
    own = generator()
    batch = HARD.batch(IMAGES, LABELS, own)
    assert torch.equal(own.get_state(), generator().get_state())
    assert batch.images is IMAGES
    logits = torch.randn(5, 3, generator=generator())
    assert torch.equal(batch.cross_entropy(logits), F.cross_entropy(logits, LABELS))


def test_every_image_is_mixed_with_one_other_and_so_are_the_labels() -> None:
    """With one hot pixel an image, its mixture tells who is in it, and how much."""
    images = torch.eye(6, dtype=torch.float64).reshape(6, 1, 2, 3)
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    batch = Softening(mixup=1.0).batch(images, labels, generator())
    assert 0 < batch.share < 1
    assert sorted(batch.others.tolist()) == labels.tolist()
    assert batch.others.tolist() != labels.tolist()
    first, other = F.one_hot(labels).double(), F.one_hot(batch.others).double()
    shares = batch.share * first + (1 - batch.share) * other
    assert torch.allclose(batch.images.flatten(1), shares)
    logits = torch.randn(6, 6, generator=generator(), dtype=torch.float64)
    wanted = -(shares * logits.log_softmax(1)).sum(1).mean()
    assert batch.cross_entropy(logits).item() == pytest.approx(wanted.item(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_the_mean_and_the_variance_of_their_beta(alpha: float) -> None:
    draws = generator()
    soft = Softening(mixup=alpha)
    shares = torch.tensor([soft.batch(IMAGES, LABELS, draws).share for _ in range(1000)])
    expected = torch.distributions.Beta(alpha, alpha)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.05)
    assert shares.var().item() == pytest.approx(expected.variance.item(), rel=0.2)


def test_examples_are_made_of_the_mixtures_against_the_first_label() -> None:
    soft, model = Softening(mixup=1.0, smoothing=0.2), Linear(2, 2.0).train()
    loss = PgdAt(THREAT, soft).loss(model, IMAGES, LABELS, generator())
    draws = generator()
    batch = soft.batch(IMAGES, LABELS, draws)
    wanted = THREAT.pgd(Linear(2, 2.0), batch.images, batch.labels, draws)
    (x,) = [shown for training, shown in model.seen if training]
    assert torch.equal(x, wanted)
    logits = (x.flatten(1) @ model.weight.detach().T).tolist()
    total = sum(
        batch.share * smoothed(z, y, 0.2) + (1 - batch.share) * smoothed(z, other, 0.2)
        for z, y, other in zip(logits, LABELS.tolist(), batch.others.tolist(), strict=True)
    )
    assert loss.item() == pytest.approx(total / len(LABELS), rel=1e-10)
    assert smoothed(logits[0], 0, 0.0) == pytest.approx(ce(logits[0], 0))


def test_a_clean_pass_moves_batch_norm_alone() -> None:
    plain, coded = Linear(2, 2.0).train(), Linear(2, 2.0).train()
    losses = [
        PgdAt(THREAT, clean_pass=more).loss(model, IMAGES, LABELS, generator())
        for model, more in ((plain, False), (coded, True))
    ]
    gradients = [
        torch.autograd.grad(loss, model.weight)[0]
        for loss, model in zip(losses, (plain, coded), strict=True)
    ]
    assert losses[0].item() == losses[1].item()
    assert torch.equal(*gradients)
    assert _passes(plain) == "a"
    assert _passes(coded) == "ca"
    assert int(coded.norm.num_batches_tracked) == 2


def _passes(model: Linear) -> str:
    shown = [x for training, x in model.seen if training]
    return "".join("c" if torch.equal(x, IMAGES) else "a" for x in shown)


def test_the_model_is_left_in_train_mode() -> None:
    model: nn.Module = Linear(2, 2.0).train()
    PgdAt(THREAT, Softening(mixup=0.5), clean_pass=True).loss(model, IMAGES, LABELS, generator())
    assert model.training
