"""The mean of the weights that a training passes through, against means worked out beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine import models, training
from engine.catalog.training import StandardParams
from engine.errors import Cancelled
from engine.events import Epoch
from engine.training import Checkpoint, trainer
from engine.training.averaging import WeightAverage
from engine.training.examples import Examples
from engine.training.trainer import validate

EPOCHS, FIRST = 5, 3
PARAMS = StandardParams(epochs=EPOCHS, batch_size=64, lr=0.2, augmentation="none")


def examples(count: int, seed: int) -> Examples:
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, 4, 4, generator=draw)
    return Examples(images, torch.arange(count) % 3)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def trained(model: nn.Module, averaged_from: int | None, **more: Any) -> training.Trained:
    """Of the last epoch, whatever validates best."""
    sets = examples(40, 1), examples(30, 2)
    given = {"averaged_from": averaged_from, "first_candidate": EPOCHS, **more}
    return training.train(model, *sets, PARAMS, 0, **given)


class Seen:
    """A training that notes the weights at the end of each epoch."""

    def __init__(self, averaged_from: int | None) -> None:
        self.model, self.weights = net(), list[dict[str, torch.Tensor]]()
        watch = training.Watch(self._note)
        self.trained = trained(self.model, averaged_from, watch=watch)

    def _note(self, epoch: Epoch) -> None:
        del epoch
        self.weights.append({n: p.detach().clone() for n, p in self.model.named_parameters()})


def test_the_kept_weights_are_the_mean_over_the_later_epochs() -> None:
    found = Seen(FIRST)
    for name, kept in found.trained.model.named_parameters():
        ends = torch.stack([one[name].double() for one in found.weights[FIRST - 1 :]])
        assert len(ends) == EPOCHS - FIRST + 1
        assert torch.allclose(kept.double(), ends.mean(0), atol=1e-6), name
        assert not torch.allclose(kept.double(), ends[-1], atol=1e-4), "weights have moved"


def test_averaging_leaves_the_training_as_it_is_until_it_begins() -> None:
    """The mean is beside the training, which takes the same steps while no images are drawn."""
    one, two = Seen(None), Seen(FIRST)
    for before, after in zip(one.weights[:FIRST], two.weights[:FIRST], strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_batch_statistics_are_those_of_the_mean_weights_on_the_training_images() -> None:
    """One batch holds all images, so mean and unbiased variance are those of all at once."""
    found = Seen(FIRST)
    conv, norm = found.trained.model[0], found.trained.model[1]  # type: ignore[index]
    with torch.no_grad():
        features = conv(examples(40, 1).images).transpose(0, 1).flatten(1)
    assert torch.allclose(norm.running_mean, features.mean(1), atol=1e-5)
    assert torch.allclose(norm.running_var, features.var(1, correction=1), atol=1e-5)
    assert not found.trained.model.training


def test_every_image_counts_the_same_in_batch_statistics_whatever_its_batch() -> None:
    model, images = net().eval(), examples(40, 1).images
    assert isinstance(images, torch.Tensor)
    images = images * torch.linspace(0.1, 1, 40)[:, None, None, None]  # the last are others
    batches = images.split([20, 17, 3])
    average = WeightAverage(model, 1)
    average.take(model, 1, batches)
    conv, norm = average.model[0], average.model[1]  # type: ignore[index]
    features = [conv(one).detach().transpose(0, 1).flatten(1) for one in batches]
    within = sum(len(one) * seen.var(1) for one, seen in zip(batches, features, strict=True)) / 40
    assert torch.allclose(norm.running_mean, torch.cat(features, 1).mean(1), atol=1e-6)
    assert torch.allclose(norm.running_var, within, atol=1e-6)
    assert norm.momentum == 0.1
    assert not average.model.training


def test_what_is_validated_is_what_would_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model itself until there is a mean, then the mean."""
    model, seen = net(), list[tuple[nn.Module, str]]()

    def noted(shown: nn.Module, *given: Any) -> tuple[float, float | None]:
        seen.append((shown, models.fingerprint(shown)))
        return validate(shown, *given)

    monkeypatch.setattr(trainer, "validate", noted)
    kept = trained(model, FIRST)
    assert [shown is model for shown, _ in seen] == [n < FIRST for n in range(1, EPOCHS + 1)]
    assert seen[-1][1] == models.fingerprint(kept.model)


@pytest.mark.parametrize("stop", [1, FIRST, EPOCHS - 1])
def test_stopped_before_or_within_the_mean_it_ends_the_same(tmp_path: Path, stop: int) -> None:
    kept, seen = Checkpoint(tmp_path / "kept", "key"), list[Epoch]()
    watch = training.Watch(seen.append, lambda: len(seen) == stop)
    with pytest.raises(Cancelled):
        trained(net(), FIRST, checkpoint=kept, watch=watch)
    found = trained(net(), FIRST, checkpoint=kept)
    assert models.fingerprint(found.model) == models.fingerprint(trained(net(), FIRST).model)
