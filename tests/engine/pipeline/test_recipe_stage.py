"""Recipes step by step: beginnings are shared, training resumes, every step is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data import training_images
from engine.events import Epoch, EpochFinished, Event, StageStarted
from engine.host import device
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import Step, make_attack, make_step
from engine.specs.study import Run, Study
from engine.store import Payload, Writer
from engine.store.stage_keys import recipe_key, variant_key
from tests.helpers.studies import small_study

PRUNE = {"name": "magnitude", "sparsity": 0.9}
TUNE = {"name": "finetune", "epochs": 3}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def study(*recipes: list[dict[str, Any]], train_limit: int | None = 320) -> Study:
    few = {"name": "digits", "limit": 30, "train_limit": train_limit}
    return small_study(dataset=few, compression=[{"steps": steps} for steps in recipes])


def run(store: Writer, asked: Study) -> list[Event]:
    events: list[Event] = []
    runner.run(asked, store, events.append, options=Options(device="cpu"))
    return events


def compressed(events: list[Event]) -> list[str]:
    return [e.detail for e in events if isinstance(e, StageStarted) and e.stage == "compression"]


def steps_of(store: Writer, compression: str) -> list[Payload]:
    row = next(row for row in store.results() if row["compression"] == compression)
    payload = store.stage(store.run(row["run_id"])["variant_key"])
    assert payload is not None
    found: list[Payload] = payload["steps"]
    return found


def test_recipes_that_begin_alike_compute_their_beginning_once(store: Writer) -> None:
    asked = study([PRUNE], [PRUNE, TUNE], [PRUNE, TUNE, {"name": "ptq", "bits": 8}])
    done = compressed(run(store, asked))
    assert done == ["magnitude 90%", "finetune standard 3ep", "ptq w8"]
    last = store.results()[-1]["compression"]
    assert [step["step"] for step in steps_of(store, last)] == done
    # And a longer recipe of a later study begins where this one ended.
    later = study([PRUNE, TUNE, {"name": "ptq", "bits": 4}])
    assert compressed(run(store, later)) == ["ptq w4"]


def test_each_step_is_looked_at(store: Writer) -> None:
    ruin = {"name": "magnitude", "sparsity": 0.99}
    run(store, study([{"name": "magnitude", "sparsity": 0.0}], [ruin, TUNE], train_limit=None))
    nothing, (ruined, tuned) = (steps_of(store, row["compression"]) for row in store.results()[1:])
    assert not nothing[0]["changed"]
    assert [flag["id"] for flag in nothing[0]["flags"]] == ["unchanged"]
    assert ruined["changed"]
    assert ruined["clean_before"] > 0.9 > 0.5 > ruined["clean_after"]
    assert "near-chance" in [flag["id"] for flag in ruined["flags"]]
    assert tuned["clean_before"] == ruined["clean_after"] < tuned["clean_after"]


def test_the_epochs_of_a_step_are_told_with_it_and_kept_in_its_record(store: Writer) -> None:
    events = run(store, study([PRUNE, TUNE]))
    told = [event for event in events if isinstance(event, EpochFinished)]
    assert [(e.at.step, e.at.place, e.at.done, e.at.expected) for e in told] == [
        ("finetune standard 3ep", 2, done, 3) for done in (1, 2, 3)
    ]
    assert told[0].seconds_left > 0 == told[-1].seconds_left
    pruned, tuned = steps_of(store, store.results()[-1]["compression"])
    assert pruned["epochs"] == []
    assert [Epoch.from_row(row) for row in tuned["epochs"]] == [event.at.epoch for event in told]
    kept = {"stage", "epoch", "epochs", "loss", "clean", "robust", "learning_rate", "seconds"}
    assert {frozenset(row) for row in tuned["epochs"]} == {frozenset(kept)}, "as it always was"
    assert 0 < sum(row["seconds"] for row in tuned["epochs"]) < tuned["seconds"]
    (pace,) = store.step_paces()
    assert (pace["name"], pace["epochs"], pace["model"]) == ("finetune", 3, "digits-resnet-at")
    assert pace["seconds"] == pytest.approx(sum(row["seconds"] for row in tuned["epochs"]))


def test_an_interrupted_step_goes_on_at_the_next_epoch(store: Writer, tmp_path: Path) -> None:
    asked = study([PRUNE, TUNE])
    events: list[Event] = []

    def stop() -> bool:
        return sum(isinstance(event, EpochFinished) for event in events) == 2

    runner.run(asked, store, events.append, stop, Options(device="cpu"))
    stopped = store.results()[-1]
    assert stopped["status"] == "cancelled"
    begun = store.stage(recipe_key(store.run(stopped["run_id"])["variant_key"]))
    assert begun is not None
    assert [bool(store.stage(key)) for key in begun["steps"]] == [True, False]
    again = run(store, asked)
    epochs = [event for event in again if isinstance(event, EpochFinished)]
    # The two done before are told again, with the numbers that they had.
    told = [event for event in events if isinstance(event, EpochFinished)]
    assert [e.at.epoch for e in epochs[:2]] == [e.at.epoch for e in told]
    assert [e.at.epoch.number for e in epochs] == [1, 2, 3]
    assert compressed(again) == ["finetune standard 3ep"]
    with Writer(tmp_path / "other.db") as other:
        run(other, asked)
        prints = [
            [one.run(row["run_id"])["key"] for row in one.results()] for one in (store, other)
        ]
        variants = [
            sorted(
                p.read_bytes() for p in Path(one.artifacts).glob("variants/*/variant.safetensors")
            )
            for one in (store, other)
        ]
    assert prints[0] == prints[1]
    assert variants[0] == variants[1]


def test_another_teacher_is_another_variant() -> None:
    def key(teacher: str) -> str:
        step = Step(name="kd", params={"teacher": teacher})
        asked = Run(
            dataset=small_study().dataset,
            model="digits-resnet",
            recipe=(step,),
            attack=make_attack("pgd"),
        )
        return variant_key(asked, "weights")

    assert key("digits-resnet-at") != key("digits-resnet") != key("base")


def test_weights_trained_in_bf16_are_not_taken_for_fp32_ones(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a database had come from a device that is fast in bf16 to one that is not."""
    asked = study([PRUNE], [PRUNE, TUNE])
    options = Options(device="cpu", precision="fp32")
    with monkeypatch.context() as fast:
        fast.setattr(device, "fast_bf16", lambda _: True)
        runner.run(asked, store, lambda _: None, options=options)
    events: list[Event] = []
    runner.run(asked, store, events.append, options=options)
    # The pruning computes alike everywhere and is reused; the training is not.
    assert compressed(events) == ["finetune standard 3ep"]
    tuned = [row for row in store.results() if "finetune" in row["compression"]]
    records = [store.variant(row["run_id"])["steps"] for row in tuned]
    assert [one[1]["precision"] for one in records] == ["bf16", "fp32"]
    assert [one[1]["device"] for one in records] == ["cpu", "cpu"]
    assert not any("precision" in one[0] for one in records)
    assert [one["loss"] for one in records[0][1]["epochs"]] != [
        one["loss"] for one in records[1][1]["epochs"]
    ]


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        ({"name": "finetune"}, True),
        ({"name": "kd"}, True),
        ({"name": "rap-admm"}, True),
        ({"name": "magnitude", "schedule": "gradual"}, True),
        ({"name": "magnitude"}, False),
        ({"name": "ptq", "activation_bits": 8}, False),
        ({"name": "finetune", "precision": "fp32"}, False),
        ({"name": "finetune", "precision": "bf16"}, False),
    ],
)
def test_the_precision_of_the_device_counts_for_steps_that_train_as_it_likes(
    step: dict[str, Any], counts: bool
) -> None:
    asked = Run(
        dataset=small_study().dataset,
        model="digits-resnet",
        recipe=(make_step(step),),
        attack=make_attack("pgd"),
    )
    plain, fp32, bf16 = (
        variant_key(asked, "weights", "images", *more) for more in ((), ("fp32",), ("bf16",))
    )
    assert plain == fp32
    assert (bf16 != fp32) == counts


def test_a_second_stream_counts_by_its_content(store: Writer, tmp_path: Path) -> None:
    """What was learned from an archive is found again; of another archive it is learned anew."""
    path = tmp_path / "more.npz"
    few = training_images("digits")

    def write(count: int) -> None:
        x = few.images[:count].permute(0, 2, 3, 1).mul(255).byte().numpy()
        np.savez(path, x_train=x, y_train=few.labels[:count].numpy())

    hydra = {"name": "hydra", "training": "standard", "prune_epochs": 0, "finetune_epochs": 1}
    asked = study([PRUNE, {**hydra, "density": 0.05, "second_stream": str(path)}])
    trained = []
    for count in (60, 60, 61):
        write(count)
        events = run(store, asked)
        trained.append(sum(isinstance(one, EpochFinished) for one in events))
    assert trained == [1, 0, 1]
    rows = store.results()
    assert {row["status"] for row in rows} == {"finished"}
    keys = {store.run(row["run_id"])["variant_key"] for row in rows}
    assert len(keys) == 3  # the base, and one of each archive


def test_what_is_chosen_on_test_images_is_flagged_and_is_of_these_images(store: Writer) -> None:
    step = {"name": "hydra", "training": "standard", "prune_epochs": 0, "finetune_epochs": 1}
    asked = study([{**step, "selection": "on test images"}], [step])
    run(store, asked)
    _, told, plain = store.results()
    flagged = ["chosen-on-test" in [flag["id"] for flag in row["flags"]] for row in (told, plain)]
    assert flagged == [True, False]
    again = [isinstance(one, EpochFinished) for one in run(store, asked)]
    assert not any(again)
    fewer = asked.model_copy(update={"dataset": asked.dataset.model_copy(update={"limit": 20})})
    assert sum(isinstance(one, EpochFinished) for one in run(store, fewer)) == 1, "the plain stays"
