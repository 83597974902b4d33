"""Options that came later: where they are not used, what was stored before is found again."""

from __future__ import annotations

from typing import Any

import pytest

from engine.specs.choices import Step, make_attack, make_step
from engine.specs.study import Run
from engine.store.stage_keys import variant_key
from tests.helpers.studies import small_study

LATER: list[tuple[str, dict[str, Any]]] = [
    ("hydra", {"passes": "as coded"}),
    ("hydra", {"second_stream": "more.npz"}),
    ("hydra", {"selection": "on test images"}),
    ("rap-admm", {"selection": "on test images"}),
    ("rslad", {"selection": "on test images"}),
    ("iad-1", {"selection": "on test images"}),
    ("iad-2", {"selection": "on test images"}),
    ("rap-admm", {"passes": "as coded"}),
    ("rap-admm", {"mixup": 0.2}),
    ("rap-admm", {"label_smoothing": 0.1}),
    ("rap-admm", {"warmup_epochs": 5}),
    ("rap-admm", {"warmup_lr": 1e-3}),
]


def key(step: Step) -> str:
    run = Run(
        dataset=small_study().dataset,
        model="digits-resnet",
        recipe=(step,),
        attack=make_attack("pgd"),
    )
    return variant_key(run, "weights", "images")


@pytest.mark.parametrize(("name", "option"), LATER)
def test_an_option_that_is_not_used_changes_no_key_and_no_label(
    name: str, option: dict[str, Any]
) -> None:
    now, used = make_step({"name": name}), make_step({"name": name, **option})
    before = Step(name=name, params={k: v for k, v in now.params.items() if k not in option})
    assert len(before.params) == len(now.params) - 1
    assert key(now) == key(before) != key(used)
    assert now.label == before.label != used.label


def test_an_older_option_of_the_same_name_stays_in_the_key_of_its_step() -> None:
    now = make_step({"name": "iad-1"})
    without = Step(name="iad-1", params={k: v for k, v in now.params.items() if k != "passes"})
    assert key(now) != key(without)
