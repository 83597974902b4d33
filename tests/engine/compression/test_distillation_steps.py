"""Distillation as a step: student, teachers, place in a recipe, and what it is worth."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.catalog.models.architectures import ARCHITECTURES, Student
from engine.compression.layers import weight_layers
from engine.compression.methods.student import student_of
from engine.costs.accounting import account
from engine.data import ImageSet
from engine.errors import Cancelled, SpecError
from engine.events import Epoch
from engine.models.registry import BUILDERS
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import Recipe, make_step, recipe_label
from engine.specs.study import Study
from engine.store import Writer
from engine.store.stage_keys import variant_key
from engine.training import Checkpoint, Watch
from tests.helpers.studies import small_study

EPS = 0.15
BALL = {"eps": EPS, "attack_steps": 2}
QUICK = {"epochs": 1, "batch_size": 128}
SMALL = {"student": "digits-resnet-tiny"}
METHODS = ("kd", "ard", "rslad", "iad-1", "iad-2", "akd2")
OF_TWO = ("iad-2", "akd2")
each_method = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return data.training_images("digits")


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    return ImageSet(
        digits.images[:300],
        digits.labels[:300],
        digits.indices[:300],
        digits.class_names,
        digits.id,
        digits.label,
    )


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet-at"))


def quick(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **QUICK, **({} if name == "kd" else BALL), **more}


def recipe(*tables: dict[str, Any]) -> Recipe:
    return tuple(make_step(table) for table in tables)


def context(base: nn.Module, training: ImageSet, **more: Any) -> compression.Context:
    def teacher(name: str) -> nn.Module:
        model = copy.deepcopy(base) if name == "base" else models.load(catalog.model_card(name))
        return model.eval().requires_grad_(False)

    given = {"calibration": training.images[:256], "training": training, "teacher": teacher}
    return compression.Context(**{**given, **more})


def made(
    base: nn.Module, training: ImageSet, *tables: dict[str, Any], **more: Any
) -> compression.Variant:
    return compression.apply(base, recipe(*tables), context(base, training, **more))


# --- the student ---


@each_method
def test_a_new_student_is_trained_stored_and_attacked(
    base: nn.Module, few: ImageSet, name: str, tmp_path: Path
) -> None:
    before = models.fingerprint(base)
    state = torch.get_rng_state()
    variant = made(base, few, quick(name, **SMALL))
    assert torch.equal(state, torch.get_rng_state())
    assert models.fingerprint(base) == before
    assert models.count_parameters(variant.live) == ARCHITECTURES[SMALL["student"]].parameters
    fresh = models.build(SMALL["student"], (1, 8, 8), 10, 0)
    assert models.fingerprint(variant.live) != models.fingerprint(fresh)
    compression.save(variant, catalog.model_card("digits-resnet-at"), tmp_path)
    again = compression.load(tmp_path)
    assert again.recipe == variant.recipe
    with torch.no_grad():
        for one, two in (
            (variant.deployed(), again.deployed()),
            (variant.attack_view(), again.attack_view()),
        ):
            assert torch.equal(one(few.images[:64]), two(few.images[:64]))
    gap = compression.check_agreement(variant.deployed(), variant.attack_view(), few.images[:100])
    assert gap < 1e-5


def test_fresh_weights_come_from_the_seed(base: nn.Module, few: ImageSet) -> None:
    step = quick("ard", **SMALL)
    prints = [models.fingerprint(made(base, few, step, seed=seed).live) for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    for seed in (0, 1):
        student = student_of(base, SMALL["student"], context(base, few, seed=seed), "ard")
        fresh = models.build(SMALL["student"], (1, 8, 8), 10, seed)
        assert models.fingerprint(student) == models.fingerprint(fresh)
    assert student_of(base, "same", context(base, few), "ard") is base


def test_the_rate_compares_the_student_with_the_base_model(base: nn.Module, few: ImageSet) -> None:
    variant = made(base, few, quick("kd", **SMALL))
    found = account(base, variant, (1, 8, 8))

    def numbers(model: nn.Module) -> int:
        """Parameters, and a mean and a variance for each channel of a BatchNorm."""
        norms = [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        return models.count_parameters(model) + 2 * sum(norms)

    assert found.dense_bytes == 4 * numbers(base)
    # Two weights of a student that just happen to be zero would not change what is packed.
    assert found.packed_bytes == 4 * numbers(variant.live)
    assert found.compression_rate == pytest.approx(numbers(base) / numbers(variant.live))
    assert 14 < found.compression_rate < 16
    assert found.parameters == ARCHITECTURES[SMALL["student"]].parameters


@each_method
def test_the_model_itself_keeps_its_zeros(base: nn.Module, few: ImageSet, name: str) -> None:
    prune = {"name": "magnitude", "sparsity": 0.8}
    before = made(base, few, prune)
    after = made(base, few, prune, quick(name, lr=0.01))
    moved = 0
    for (_, old), (_, new) in zip(
        weight_layers(before.deployed()), weight_layers(after.deployed()), strict=True
    ):
        assert torch.equal(old.weight != 0, new.weight != 0)
        moved += int((old.weight != new.weight).sum())
    assert moved > 1000


def test_the_model_itself_keeps_its_levels(base: nn.Module, few: ImageSet) -> None:
    quantise = {"name": "ptq", "bits": 3}
    variant = made(base, few, quantise, quick("rslad", lr=0.05))
    for name, quantiser in variant.weight_quantisers.items():
        codes = quantiser.codes(variant.live.get_submodule(name).weight.detach())
        weight = codes * quantiser.scale
        assert torch.allclose(weight, variant.live.get_submodule(name).weight, atol=1e-6)
        assert codes.abs().max() <= 3
    assert len(variant.weight_quantisers) == len(weight_layers(base))


def test_architectures_of_the_catalogue_are_those_that_can_be_built() -> None:
    assert tuple(ARCHITECTURES) == tuple(BUILDERS)
    assert get_args(Student) == ("same", *BUILDERS)
    for name, known in ARCHITECTURES.items():
        with torch.device("meta"):
            model = BUILDERS[name](known.shape, 10)
        assert models.count_parameters(model) == known.parameters
    assert {card.architecture for card in catalog.models.cards.cards().values()} <= set(BUILDERS)


# --- teachers ---


def seen_classes(base: nn.Module, training: ImageSet, **step: Any) -> list[str]:
    """The teachers that a step asks for."""
    names: list[str] = []
    plain = context(base, training)

    def teacher(name: str) -> nn.Module:
        names.append(name)
        return plain.teacher(name)

    made(base, training, step, teacher=teacher)
    return names


def test_teachers_are_those_that_were_named(base: nn.Module, few: ImageSet) -> None:
    assert seen_classes(base, few, **quick("ard", **SMALL)) == ["base"]
    named = quick("rslad", teacher="digits-resnet", **SMALL)
    assert seen_classes(base, few, **named) == ["digits-resnet"]
    assert seen_classes(base, few, **quick("iad-2", **SMALL)) == ["base", "digits-resnet"]
    both = quick("iad-2", teacher="digits-resnet-at", teacher_standard="base", **SMALL)
    assert seen_classes(base, few, **both) == ["digits-resnet-at", "base"]


@pytest.mark.parametrize("field", ["teacher", "teacher_standard"])
def test_an_unknown_teacher_is_refused_with_those_that_exist(field: str) -> None:
    table = {"name": "iad-2", field: "resnet-200"}
    with pytest.raises(SpecError, match="There is no model 'resnet-200'") as told:
        small_study(compression=[table])
    assert "Known: digits-resnet-at, digits-resnet" in told.value.hint
    tables = small_study().to_dict() | {"compression": [table]}
    study = Study.from_dict(tables, absent_models=True)  # to be looked at
    assert study.absent_models() == ("resnet-200",)
    assert study.count() == 2


@pytest.mark.parametrize(
    ("field", "images", "classes", "words"),
    [
        (
            "teacher",
            (3, 8, 8),
            10,
            "10 classes of images 1x8x8, but the student tells 10 classes of images 3x8x8",
        ),
        (
            "teacher_standard",
            (1, 8, 8),
            4,
            "10 classes of images 1x8x8, but the student tells 4 classes of images 1x8x8",
        ),
    ],
)
def test_a_teacher_for_other_images_is_refused_before_training(
    field: str, images: tuple[int, int, int], classes: int, words: str
) -> None:
    labels = torch.arange(40) % classes
    names = tuple(str(n) for n in range(classes))
    other = ImageSet(torch.rand(40, *images), labels, torch.arange(40), names, "npz", "x")
    net = models.build("digits-cnn", images, classes)
    seen: list[Epoch] = []
    step = quick("iad-2", **{"teacher_standard": "base", field: "digits-resnet"})
    with pytest.raises(SpecError, match=f"iad-2: {field} is 'digits-resnet', which tells {words}"):
        made(net, other, step, watch=Watch(seen.append))
    assert not seen
    made(net, other, quick("iad-2", teacher_standard="base"), watch=Watch(seen.append))
    assert len(seen) == 1


@each_method
def test_without_training_images_it_is_refused(base: nn.Module, name: str) -> None:
    with pytest.raises(SpecError, match=f"{name}: this dataset has no training images"):
        compression.apply(base, recipe(quick(name)), compression.Context())


@pytest.mark.parametrize("name", OF_TWO)
def test_weights_of_two_teachers_leave_something_for_the_labels(name: str) -> None:
    with pytest.raises(SpecError, match=r"alpha \+ alpha_standard up to 1, not 1.15"):
        make_step({"name": name, "alpha": 0.9, "alpha_standard": 0.25})
    assert make_step({"name": name, "alpha": 0.9, "alpha_standard": 0.1})


def test_every_teacher_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    study = small_study(compression=[quick("iad-2", teacher="digits-resnet-at", **SMALL)])
    run = study.runs()[1]
    keys = {variant_key(run, "base")}
    for name in ("digits-resnet", "digits-resnet-at"):
        cards = dict(catalog.models.cards.cards())
        cards[name] = cards[name].model_copy(update={"fingerprint": "other"})
        with monkeypatch.context() as patch:
            patch.setattr(catalog.models.cards, "cards", lambda cards=cards: cards)
            keys.add(variant_key(run, "base"))
    assert len(keys) == 3


# --- recipes and labels ---


@pytest.mark.parametrize("name", [*METHODS, "finetune"])
@pytest.mark.parametrize("first", [{"name": "magnitude"}, {"name": "ptq"}, quick("kd")])
def test_a_new_student_behind_other_steps_is_refused(first: dict[str, Any], name: str) -> None:
    later = {"name": name, "student": "digits-cnn"}
    words = f"{name} with student 'digits-cnn' cannot follow {first['name']}.*fresh weights"
    with pytest.raises(SpecError, match=words) as caught:
        small_study(compression=[{"steps": [first, later]}])
    assert "set student to 'same'" in caught.value.hint
    same = {"steps": [first, {**later, "student": "same"}]}
    assert len(small_study(compression=[same]).recipes()) == 2


def test_a_student_can_be_compressed_further() -> None:
    steps = [{"name": "ard", "student": "digits-cnn"}, {"name": "magnitude"}, {"name": "ard"}]
    (_, one) = small_study(compression=[{"steps": steps}]).recipes()
    assert recipe_label(one) == "ard digits-cnn + magnitude 90% + ard"


@pytest.mark.parametrize(
    ("table", "label"),
    [
        ({"name": "ard", "student": "digits-resnet-small"}, "ard digits-resnet-small"),
        ({"name": "kd", "epochs": 5, "temperature": 2}, "kd temperature=2 5ep"),
        (
            {"name": "iad-1", "eps": "4/255", "teacher": "digits-resnet", "schedule": "as coded"},
            "iad-1 teacher=digits-resnet schedule=as-coded 4/255",
        ),
        ({"name": "finetune", "student": "digits-cnn"}, "finetune digits-cnn standard 10ep"),
    ],
)
def test_labels(table: dict[str, Any], label: str) -> None:
    assert make_step(table).label == label


# --- training ---


def test_learning_rates_and_accuracies_are_told(base: nn.Module, few: ImageSet) -> None:
    for name, coded, rates in (
        ("ard", "as published", [0.1, 0.1, 0.01, 0.001]),
        ("iad-2", "as coded", [0.1, 0.1, 0.01, 0.01]),
    ):
        seen: list[Epoch] = []
        step = quick(name, **SMALL, schedule=coded) | {"epochs": 4}
        made(base, few, step, watch=Watch(seen.append))
        assert [epoch.learning_rate for epoch in seen] == pytest.approx(rates)
        assert all(epoch.robust is not None for epoch in seen)
    seen = []
    made(base, few, quick("kd", **SMALL), watch=Watch(seen.append))
    assert [epoch.robust for epoch in seen] == [None]


@pytest.mark.parametrize("stop", [1, 2])
def test_resumed_equals_undisturbed_across_the_warm_up(
    base: nn.Module, few: ImageSet, tmp_path: Path, stop: int
) -> None:
    step = quick("iad-2", warm_up="1/3", **SMALL) | {"epochs": 3}
    whole: list[Epoch] = []
    expected = made(base, few, step, watch=Watch(whole.append))
    warm = made(base, few, {**step, "warm_up": 1})
    assert models.fingerprint(warm.live) != models.fingerprint(expected.live)

    def keep(stage: str) -> Checkpoint:
        return Checkpoint(tmp_path / stage, "key")

    seen: list[Epoch] = []
    watch = Watch(seen.append, lambda: len(seen) == stop)
    with pytest.raises(Cancelled):
        made(base, few, step, watch=watch, checkpoint=keep)
    again: list[Epoch] = []
    found = made(base, few, step, watch=Watch(again.append), checkpoint=keep)
    assert models.fingerprint(found.live) == models.fingerprint(expected.live)
    assert [epoch.loss for epoch in again] == [epoch.loss for epoch in whole]


def test_kd_with_all_weight_on_the_labels_is_standard_training(
    base: nn.Module, few: ImageSet
) -> None:
    shared = {**QUICK, **SMALL, "lr": 0.1, "schedule": "one-cycle"}
    one = made(base, few, {"name": "kd", "alpha": 1, **shared})
    two = made(base, few, {"name": "finetune", **shared})
    assert models.fingerprint(one.live) == models.fingerprint(two.live)


@each_method
def test_a_student_has_the_head_of_the_base(base: nn.Module, few: ImageSet, name: str) -> None:
    """Images of fewer classes than the model tells: a new student is one of the same classes."""
    images = replace(few, class_names=few.class_names[:5], labels=few.labels % 5)
    student = made(base, images, quick(name, **SMALL)).deployed()
    with torch.no_grad():
        assert student(images.images[:2]).shape == (2, 10)


@pytest.mark.parametrize("name", [*METHODS, "finetune"])
def test_more_classes_than_the_model_tells_are_refused(few: ImageSet, name: str) -> None:
    net = models.build("digits-cnn", (1, 8, 8), 4)
    step = quick(name, **({"teacher_standard": "base"} if name in OF_TWO else {}))
    with pytest.raises(SpecError, match=f"{name}: the model tells 4 classes, .* are of 10"):
        made(net, few, step)


@each_method
def test_a_student_with_weights_to_lose_learns_gently(name: str) -> None:
    """By default as fast as fine-tuning; a new one as fast as the papers. Keys know it."""
    kind = catalog.find("compressions", name).params
    gentle, fresh = kind.model_validate({}), kind.model_validate(SMALL)
    usual = catalog.find("compressions", "finetune").params.model_fields["lr"].default
    assert (gentle.rate, fresh.rate) == (usual, 0.1)  # type: ignore[attr-defined]
    assert kind.model_validate({"lr": 0.5}).rate == 0.5  # type: ignore[attr-defined]

    def key(**params: Any) -> str:
        study = small_study(compression=[{"steps": [quick(name, **params)]}])
        return variant_key(study.runs()[1], "model")

    assert key() == key(lr=usual) != key(lr=0.1)
    assert key(**SMALL) == key(lr=0.1, **SMALL) != key(**SMALL, lr=usual)


def test_the_default_rate_is_the_one_that_trains(base: nn.Module, few: ImageSet) -> None:
    for student, rate in (({}, 0.01), (SMALL, 0.1)):
        usual, told = (made(base, few, quick("kd", **student, **lr)) for lr in ({}, {"lr": rate}))
        assert models.fingerprint(usual.live) == models.fingerprint(told.live)


def test_a_study_distils_quantises_and_reuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(
        compression=[{"steps": [quick("iad-2", **SMALL), {"name": "ptq", "bits": 8}]}],
        attack=[{"name": "fgsm", "eps": 0.1}],
        dataset={"name": "digits", "limit": 30, "train_limit": 300},
    )
    with Writer(tmp_path / "results.db") as store:
        runner.run(study, store, lambda _: None, options=Options("cpu"))
        none, row = store.results()
        assert (none["status"], row["status"]) == ("finished", "finished")
        assert row["compression"].startswith("iad-2 digits-resnet-tiny 1ep")
        assert row["compression_rate"] > 30
        monkeypatch.setitem(compression.METHODS, "iad-2", None)  # would raise if it were called
        more = study.model_copy(update={"attacks": ({"name": "fgsm", "eps": 0.05},)})
        runner.run(more, store, lambda _: None, options=Options("cpu"))
        assert [one["status"] for one in store.results()] == ["finished"] * 4
