"""The trainer: it learns, repeats itself, touches nothing global, and never sees test images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from engine import catalog, data, models, training
from engine.catalog.training import PgdAtParams, StandardParams
from engine.errors import Cancelled
from engine.specs import DatasetSpec
from engine.training import bundled
from engine.training.adversary import accuracy, frozen, pgd_examples
from engine.training.trainer import Examples, random_shift


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _examples() -> tuple[Examples, Examples]:
    digits = data.training_images("digits")
    return (
        Examples(digits.images[:400], digits.labels[:400]),
        Examples(digits.images[400:500], digits.labels[400:500]),
    )


def _train(params: StandardParams, seed: int = 0) -> training.Trained:
    model = models.build("digits-resnet", (1, 8, 8), 10, seed)
    return training.train(model, *_examples(), params, seed)


SHORT = {
    "standard": StandardParams(epochs=2, batch_size=64),
    "pgd-at": PgdAtParams(epochs=2, batch_size=64, eps=0.1, attack_steps=2),
}


@pytest.mark.parametrize("name", SHORT)
def test_same_seed_same_weights_and_global_state_untouched(name: str) -> None:
    before = torch.get_rng_state()
    prints = [models.fingerprint(_train(SHORT[name], seed).model) for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    assert torch.equal(before, torch.get_rng_state())


def test_a_few_epochs_learn_the_digits() -> None:
    trained = _train(StandardParams(epochs=8, batch_size=64))
    assert trained.validation_clean == trained.validation_score > 0.9
    assert not trained.model.training


def test_adversarial_score_is_robust_accuracy() -> None:
    trained = _train(SHORT["pgd-at"])
    assert trained.validation_score < trained.validation_clean


@pytest.mark.parametrize(("name", "clean"), [("standard", True), ("pgd-at", False)])
def test_gradient_steps_see_the_right_examples(name: str, clean: bool) -> None:
    seen: list[torch.Tensor] = []
    model = models.build("digits-resnet", (1, 8, 8), 10)
    model.register_forward_pre_hook(lambda m, x: seen.append(x[0]) if m.training else None)
    training.train(model, *_examples(), SHORT[name], 0)
    pixels = torch.cat(seen) * 16
    assert len(pixels) == 2 * 400
    assert torch.equal(pixels, pixels.round()) == clean  # clean digits have 17 grey levels


def test_stop_is_asked_before_each_epoch() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    seen: list[int] = []
    with pytest.raises(Cancelled):
        training.train(
            models.build("digits-resnet", (1, 8, 8), 10),
            *_examples(),
            SHORT["standard"],
            0,
            on_epoch=lambda epoch, _loss: seen.append(epoch),
            should_stop=stop,
        )
    assert seen == [1]


def test_shift_moves_by_one_pixel_and_keeps_the_rest_black() -> None:
    images = torch.zeros(500, 1, 5, 5)
    images[:, :, 2, 2] = 1
    shifted = random_shift(images, torch.Generator().manual_seed(0))
    places = {tuple(place[2:].tolist()) for place in shifted.nonzero()}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    assert shifted.sum() == 500


def test_inner_pgd_stays_in_the_ball_and_raises_the_loss() -> None:
    model = models.load(catalog.model_card("digits-resnet"))
    test = data.load(DatasetSpec(name="digits", limit=100), seed=0)
    x = pgd_examples(
        model,
        test.images,
        test.labels,
        eps=0.15,
        steps=10,
        generator=torch.Generator().manual_seed(0),
    )
    assert (x - test.images).abs().max() <= 0.15 * (1 + 1e-6)
    assert x.min() >= 0
    assert x.max() <= 1
    assert accuracy(model, x, test.labels) < 0.3


def test_frozen_gives_modes_and_gradients_back_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)).train()
    model[1].eval()
    model[0].bias.requires_grad_(False)

    def state() -> list[bool]:
        return [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]

    before = state()
    inside: list[bool] = []

    def fail() -> None:
        with frozen(model):
            inside.extend(state())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not any(inside)
    assert state() == before


def test_bundled_models_are_what_they_claim() -> None:
    test = data.load(DatasetSpec(name="digits", limit=200), seed=0)
    robust = {}
    for recipe in bundled.RECIPES:
        model = models.load(catalog.model_card(recipe.id))
        generator = torch.Generator().manual_seed(1)
        x = pgd_examples(model, test.images, test.labels, eps=0.15, steps=20, generator=generator)
        robust[recipe.id] = accuracy(model, x, test.labels)
    assert robust["digits-resnet"] < 0.2
    assert robust["digits-resnet-at"] > 0.5


def test_cards_state_the_recipe_that_is_in_the_code() -> None:
    for recipe in bundled.RECIPES:
        card = catalog.model_card(recipe.id)
        assert card.recipe["training"] == recipe.training
        assert card.recipe["params"] == recipe.params.model_dump(mode="json")
        entry = catalog.find("training", recipe.training)
        assert isinstance(recipe.params, entry.params)


def test_recipe_writes_a_model_that_loads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    short = bundled.Bundled(
        id="short", title="t", summary="s", paper="", training="standard", params=SHORT["standard"]
    )
    card = bundled.train_bundled(short, tmp_path)
    assert card.recipe["training_images"] + card.recipe["validation_images"] == 1297
    assert models.fingerprint(models.load(card, tmp_path)) == card.fingerprint
    assert [record.args[1] for record in caplog.records if record.args] == [1, 2]
