"""Which images choose the epoch that a step keeps: held-out ones, or by that name the attacked."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, data, models
from engine.catalog.compressions.shared_fields import SelectionParams
from engine.compression import retrain
from engine.errors import SpecError
from engine.events import Epoch
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from engine.training import Examples, Trained, Watch, hold_out
from tests.helpers.trained_steps import Table, apply

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: Table = {"eps": 0.1, "attack_steps": 1, "batch_size": 128}
STEPS: list[Table] = [
    {"name": "hydra", "prune_epochs": 1, "finetune_epochs": 1, **QUICK},
    {"name": "rap-admm", "admm_epochs": 1, "retrain_epochs": 1, **QUICK},
    {"name": "rslad", "epochs": 1, **QUICK},
    {"name": "iad-1", "epochs": 1, **QUICK},
    {"name": "iad-2", "epochs": 1, "teacher_standard": "base", **QUICK},
]
ON_TEST = {"selection": "on test images"}
NAMES = [step["name"] for step in STEPS]


@pytest.fixture
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet-at"))


def test_the_steps_here_are_all_that_have_the_choice() -> None:
    known = catalog.section("compressions").items()
    assert set(NAMES) == {name for name, one in known if issubclass(one.params, SelectionParams)}


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_what_chooses_is_what_was_named(
    base: nn.Module, digits: data.ImageSet, step: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trained on is the same; of rap-admm only the retraining has a choice."""
    test = data.load(data_spec(), 0)
    seen: list[tuple[Examples, Examples]] = []

    def noted(
        model: nn.Module, training: Examples, validation: Examples, *more: Any, **named: Any
    ) -> Trained:
        seen.append((training, validation))
        return train(model, training, validation, *more, **named)

    train = retrain.train
    monkeypatch.setattr(retrain, "train", noted)
    given = {"training": digits, "test": test, "teacher": lambda _: copy.deepcopy(base)}
    apply(base, {**step, **ON_TEST}, **given)
    training, held = hold_out(digits)
    chosen = [validation for _, validation in seen]
    if step["name"] == "rap-admm":
        assert torch.equal(chosen.pop(0).images[:], held.images[:])
    assert all(torch.equal(one.images[:], test.images[:]) for one in chosen)
    assert all(torch.equal(one.labels, test.labels) for one in chosen)
    assert all(torch.equal(one.images[:], training.images[:]) for one, _ in seen)
    seen.clear()
    apply(base, step, **given)
    assert seen
    assert all(torch.equal(one.images[:], held.images[:]) for _, one in seen)


def data_spec() -> DatasetSpec:
    return DatasetSpec(name="digits", limit=30)


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_without_test_images_it_is_refused_before_it_trains(
    base: nn.Module, digits: data.ImageSet, step: Table
) -> None:
    seen: list[Epoch] = []
    given = {"training": digits, "teacher": lambda _: copy.deepcopy(base)}
    words = f"{step['name']}: there are no test images here"
    with pytest.raises(SpecError, match=words) as caught:
        apply(base, {**step, **ON_TEST}, **given, watch=Watch(seen.append))
    assert "'held-out'" in caught.value.hint
    assert not seen


def test_test_images_count_in_what_is_learned_where_they_choose(digits: data.ImageSet) -> None:
    test = data.load(data_spec(), 0)
    plain, told = make_step(STEPS[0]), make_step({**STEPS[0], **ON_TEST})
    assert data.lesson(digits, (plain,), test) == digits.lesson
    assert data.lesson(digits, (told,), test) == f"{digits.lesson} test {test.fingerprint}"
    assert data.lesson(None, (told,), test) == ""


NOTHING_CHOSEN: list[Table] = [
    {"name": "rap-admm", "admm_epochs": 1, "retrain_epochs": 0, **QUICK, **ON_TEST},
    {"name": "hydra", "prune_epochs": 0, "finetune_epochs": 0, **ON_TEST},
]


@pytest.mark.parametrize("step", NOTHING_CHOSEN, ids=("rap-admm", "hydra"))
def test_where_no_epoch_is_chosen_test_images_do_not_count(
    base: nn.Module, digits: data.ImageSet, step: Table
) -> None:
    recipe = (make_step(step),)
    assert not data.looks_at_test_images(recipe)
    assert data.lesson(digits, recipe, data.load(data_spec(), 0)) == digits.lesson
    apply(base, step, training=digits)  # without any it is not refused
