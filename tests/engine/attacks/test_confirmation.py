"""What counts as an example: what other forwards uphold, and of a random model a fresh draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import run_attack
from engine.attacks.search.confirmation import is_random
from engine.evaluation.guard import forked_rng
from tests.helpers.attack_models import Affine, Wrapped, trained


class CoinFlip(nn.Module):
    """Ignores the image and says class 0 in a share of all forwards, else class 1."""

    def __init__(self, share: float, source: str = "torch") -> None:
        super().__init__()
        self.share, self.own = share, torch.Generator().manual_seed(1)
        self.source = source

    def forward(self, images: Tensor) -> Tensor:
        generator = self.own if self.source == "own" else None
        right = torch.rand(len(images), generator=generator) < self.share
        logits = torch.stack([right.float(), (~right).float(), torch.zeros(len(right))], dim=1)
        return 8 * logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)


@pytest.mark.parametrize("source", ["torch", "own"])
@pytest.mark.parametrize(
    "attack",
    [
        {"name": "square", "eps": 0.3, "n_queries": 100},
        {"name": "pgd", "eps": 0.3, "steps": 20, "restarts": 3},
        {"name": "apgd-t", "eps": 0.3, "steps": 5, "targets": 2},
        {"name": "fmn", "steps": 20},
        {"name": "torchattacks.PGD", "steps": 20},
    ],
    ids=lambda attack: attack["name"],
)
def test_the_first_lucky_forward_of_a_random_model_does_not_count(
    attack: dict[str, Any], source: str
) -> None:
    """Right in two draws, one of the clean image and one of what the attack returns: p^2."""
    images, share = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0)), 0.95
    labels = torch.zeros(400, dtype=torch.int64)
    result = run_attack(CoinFlip(share, source), images, labels, attack)
    spread = (share**2 * (1 - share**2) / 400) ** 0.5
    assert float((~result.broken).float().mean()) == pytest.approx(share**2, abs=4 * spread)
    assert torch.equal(result.broken_at_step >= 0, result.broken)
    assert torch.equal(result.adversarial_predictions != labels, result.broken)
    assert any("The model is random" in note for note in result.notes)


class Noisy(nn.Module):
    """Logits of a net with noise added to its images."""

    def __init__(self, inner: nn.Module, size: float) -> None:
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images + self.size * torch.randn(images.shape))
        return logits


def test_the_verdict_on_a_random_model_is_what_fresh_draws_say() -> None:
    net, images, labels = trained()
    noisy = Noisy(net, 0.1).eval()
    result = run_attack(noisy, images, labels, {"name": "pgd", "eps": 0.05, "steps": 10})
    attacked = result.clean_predictions == labels
    with forked_rng(12345), torch.no_grad():
        draws = [noisy(result.adversarial).argmax(dim=1) != labels for _ in range(50)]
    expected = torch.stack(draws).float().mean(dim=0)[attacked]
    spread = float((expected * (1 - expected)).sum().sqrt())
    assert float(result.broken[attacked].sum()) == pytest.approx(
        float(expected.sum()), abs=4 * spread
    )


def test_a_model_is_random_if_it_draws_or_if_its_outputs_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    assert not is_random(lambda: torch.ones(2, 3))
    assert not is_random(lambda: torch.full((2, 3), torch.nan))
    assert is_random(lambda: torch.ones(2, 3) + 0 * torch.rand(1))
    assert is_random(lambda: torch.rand(2, 3, generator=generator))


class AloneOrNot(nn.Module):
    """Says another class where an image with a dark corner is alone in its batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        fickle = (images[:, 0, 0, 0] < 0.5) & (len(images) == 1)
        return torch.where(fickle[:, None], -logits, logits)


def test_an_example_that_another_batch_does_not_uphold_does_not_count() -> None:
    net, images, _ = trained()
    images = images[:1].clone()
    images[:, 0, 0, 0] = 0.55
    labels = net(images).argmax(dim=1)
    attack = {"name": "square", "eps": 0.1, "n_queries": 60}
    assert not run_attack(net, images, labels, attack).broken.any()
    result = run_attack(AloneOrNot(net), images, labels, attack)
    assert not result.broken.any()
    assert any("in one batch and not in another" in note for note in result.notes)


@pytest.mark.parametrize("attack", ["torchattacks.DeepFool", "deepfool", "fmn", "ddn", "cw-l2"])
def test_every_example_holds_in_every_batch_and_layout(attack: str) -> None:
    net, images, labels = trained()
    images, labels = images[:60], labels[:60]
    quick = {"steps": 60, "binary_search_steps": 2} if attack == "cw-l2" else {}
    result = run_attack(net, images, labels, {"name": attack, **quick})
    assert result.broken.any()
    found, truth = result.adversarial[result.broken], labels[result.broken]
    for size in (1, 2, 3, 7, 60):
        for layout in (torch.contiguous_format, torch.channels_last):
            with torch.no_grad():
                parts = [net(part.contiguous(memory_format=layout)) for part in found.split(size)]
            assert (torch.cat(parts).argmax(dim=1) != truth).all()


def test_a_tie_is_no_example() -> None:
    """An affine model of two classes that are equal wherever the attack may go."""
    model = Affine(3, (1, 2, 2))
    with torch.no_grad():
        model.linear.weight[1] = model.linear.weight[0]
        model.linear.bias[1] = model.linear.bias[0]
        model.linear.bias[2] = -100.0
    images = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    predicted = model(images).argmax(dim=1)
    result = run_attack(model, images, predicted, {"name": "square", "eps": 0.3, "n_queries": 50})
    assert not result.broken.any()


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_what_is_added_to_all_logits_hides_no_example(offset: float) -> None:
    """It rounds them once, to 1/16 at a million; within that distance of a tie none counts."""
    model = Affine(3, (1, 4, 4))
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    shifted = Wrapped(model, after=lambda logits: logits + offset)
    radius = model.radius(images, labels)
    eps = 1.5 * float(radius.median())
    attack = {"name": "pgd", "eps": eps, "steps": 20, "random_start": False}
    found = run_attack(shifted, images, labels, attack)
    # At the edge of the ball the margin of these is some tenths.
    assert found.broken[radius < 0.8 * eps].all()
    assert not found.broken[radius > 1.05 * eps].any()
    assert torch.equal(shifted(found.adversarial).argmax(dim=1) != labels, found.broken)
