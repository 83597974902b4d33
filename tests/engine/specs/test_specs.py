"""Studies: reading, writing, sweeping, and refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine import catalog
from engine.catalog.training import RECIPES
from engine.errors import SpecError
from engine.host import paths
from engine.specs.choices import make_attack, make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from tests.helpers.studies import small_study


def test_sweeps_and_recipes_expand_in_order_of_writing() -> None:
    study = small_study(
        compression=[
            {"name": "magnitude", "sparsity": [0.5, 0.9]},
            {"steps": [{"name": "magnitude", "sparsity": 0.5}, {"name": "ptq", "bits": [4, 2]}]},
        ],
        attack=[{"name": "fgsm", "eps": ["4/255", "8/255"]}],
    )
    labels = [run.compression for run in study.runs()][::2]
    assert labels == [
        "none",
        "magnitude 50%",
        "magnitude 90%",
        "magnitude 50% + ptq w4",
        "magnitude 50% + ptq w2",
    ]
    assert [attack.eps for attack in study.attack_specs()] == [4 / 255, 8 / 255]


def test_the_baseline_is_always_there_and_only_once() -> None:
    study = small_study(compression=[{"name": "none"}])
    assert [run.compression for run in study.runs()] == ["none"]


def test_equal_settings_written_twice_run_once() -> None:
    study = small_study(attack=[{"name": "pgd", "eps": "8/255"}, {"name": "pgd", "eps": 8 / 255}])
    assert len(study.attack_specs()) == 1


def test_a_study_survives_writing_and_reading(tmp_path: Path) -> None:
    study = Study.from_toml(paths.example_study())
    file = tmp_path / "again.toml"
    file.write_text(study.to_toml())
    assert Study.from_toml(file) == study


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "pgd", "eps": -1}, ["eps", "-1", "greater than or equal to 0"]),
        ({"name": "pgd", "eps": "nine/255"}, ["eps", "nine/255", "8/255"]),
        ({"name": "pgd", "eps": float("nan")}, ["eps", "finite"]),
        ({"name": "pgd", "stepz": 3}, ["stepz", "Known: eps, steps"]),
        ({"name": "pgdd"}, ["'pgdd'", "Did you mean 'pgd'", "fgsm"]),
        ({"eps": 0.1}, ["name", "missing"]),
    ],
)
def test_bad_attacks_are_refused_with_field_value_and_what_is_allowed(
    table: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        make_attack(table)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compression": [{"name": "magnitude", "sparsity": 1.2}]}, ["sparsity", "1.2", "less"]),
        (
            {"compression": [{"steps": [{"name": "ptq"}, {"name": "magnitude"}]}]},
            ["magnitude cannot follow ptq", "Put magnitude before ptq"],
        ),
        ({"compression": [{"steps": []}]}, ["steps", "list"]),
        ({"compression": [{"steps": ["magnitude"]}]}, ["table", "name"]),
        ({"model": [{"name": "resnet-9000"}]}, ["resnet-9000", "digits-resnet"]),
        ({"model": []}, ["model"]),
        ({"attack": []}, ["attack"]),
        ({"dataset": {"name": "digits", "limit": 0}}, ["limit", "0"]),
        ({"dataset": {}}, ["name, folder, npz"]),
        ({"dataset": {"name": "digits", "folder": "x"}}, ["exactly one"]),
        ({"name": ""}, ["name"]),
        ({"name": "two\nlines"}, ["name", "one line"]),
        ({"name": "   "}, ["name", "one line"]),
        ({"attack": [{"name": "pgd", "eps": []}]}, ["eps", "empty list"]),
        ({"compression": [{"name": "ptq", "bits": []}]}, ["bits", "empty list"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"colour": "red"}, ["colour", "keep_images"]),
    ],
)
def test_bad_studies_are_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        small_study(**changes)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()
    with pytest.raises(SpecError, match=r"^empty\.toml: the key 'name' is missing\.$"):
        Study.from_toml(tmp_path / "empty.toml")


def test_an_unknown_key_inside_a_table_is_not_answered_with_those_of_the_file() -> None:
    with pytest.raises(SpecError, match=r"'dataset\.limmit'\.$"):
        small_study(dataset={"name": "digits", "limmit": 3})


def test_a_model_named_twice_runs_once() -> None:
    study = small_study(model=[{"name": "digits-resnet"}] * 2)
    assert len(study.runs()) == 2


def test_files_that_are_missing_or_no_toml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        Study.from_toml(tmp_path / "none.toml")
    file = tmp_path / "bad.toml"
    file.write_text("name = ")
    with pytest.raises(SpecError, match="not valid TOML"):
        Study.from_toml(file)


def test_stored_choices_hold_every_parameter() -> None:
    assert set(make_attack("pgd").params) == {
        "eps",
        "steps",
        "step_size",
        "random_start",
        "restarts",
        "targets",
    }
    assert make_step({"name": "ptq"}).params["bits"] == 8


@given(st.integers(0, 255))
def test_fractions_mean_and_show_what_they_say(numerator: int) -> None:
    text = f"{numerator}/255"
    number = catalog.as_number(text)
    assert number == numerator / 255
    assert catalog.as_number(catalog.format_number(number)) == pytest.approx(number, rel=1e-5)


@pytest.mark.parametrize("value", [0.15, 0.2, 0.4, 0.8, 0.5, 1.0, 0.0, 40.0, 8 / 255])
def test_numbers_are_shown_as_people_write_them(value: float) -> None:
    assert catalog.format_number(value) == ("8/255" if value == 8 / 255 else f"{value:g}")


@pytest.mark.parametrize("text", ["1e999999999", "1/0", "8/", "/255", "8/255/2", "", "1e999/1"])
def test_rubbish_is_no_number_and_takes_no_time(text: str) -> None:
    with pytest.raises(SpecError, match="eps"):
        make_attack({"name": "pgd", "eps": text})


@pytest.mark.parametrize("kind", list(RECIPES))
@pytest.mark.parametrize("entry_id", ["finetune", "qat", "hydra"])
def test_what_a_recipe_does_not_know_is_idle_beside_it(entry_id: str, kind: str) -> None:
    model = catalog.find("compressions", entry_id).params
    unknown = RECIPES["trades"].model_fields.keys() - RECIPES[kind].model_fields.keys()
    idle = model.idle({"training": kind, "method": "lsq"}).keys()
    assert idle & RECIPES["trades"].model_fields.keys() == unknown & model.model_fields.keys()


def test_a_condition_can_hang_on_another_one() -> None:
    model = catalog.find("compressions", "magnitude").params
    assert model.model_fields.keys() - model.idle({}).keys() == {"sparsity", "scope", "schedule"}
    gradual = model.idle({"schedule": "gradual", "training": "trades"})
    assert not gradual
    assert "eps" in model.idle({"schedule": "one-shot", "training": "trades"})
    assert "eps" not in model.idle({"schedule": ["one-shot", "gradual"], "training": "pgd-at"})


def test_what_is_named_but_does_nothing_is_told_with_what_it_needs() -> None:
    study = small_study(
        compression=[
            {"name": "magnitude", "epochs": 5, "eps": 0.1},
            {"name": "magnitude", "epochs": 5, "eps": 0.1, "schedule": "gradual"},
            {"steps": [{"name": "finetune", "training": ["standard", "pgd-at"], "eps": 0.1}]},
        ],
        attack=[{"name": "pgd", "random_start": False, "restarts": 3}],
    )
    assert study.unused() == (
        "compression 1 'magnitude': epochs does nothing unless schedule is gradual.",
        "compression 1 'magnitude': eps does nothing unless schedule is gradual.",
        "compression 2 'magnitude': eps does nothing unless training is pgd-at or trades.",
        "attack 1 'pgd': restarts does nothing unless random_start is true.",
    )


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"retrain_epochs": 0, "warmup_epochs": 5}, ["warmup_epochs: retrain_epochs"]),
        (
            {"retrain_epochs": 0, "warmup_epochs": 5, "warmup_lr": 1e-3},
            ["warmup_epochs: retrain_epochs", "warmup_lr: retrain_epochs"],
        ),
        ({"retrain_epochs": 0, "retrain_lr": 0.1}, ["retrain_lr: retrain_epochs"]),
        ({"retrain_epochs": 0, "selection": "held-out"}, ["selection: retrain_epochs"]),
        ({"warmup_lr": 1e-3}, ["warmup_lr: warmup_epochs"]),
        ({"warmup_lr": 1e-3, "warmup_epochs": [0, 5]}, []),
        ({"retrain_epochs": [0, 20], "warmup_epochs": 5, "selection": "on test images"}, []),
        (
            {"name": "hydra", "prune_epochs": 0, "prune_lr": 1, "freeze_bn": True},
            ["freeze_bn: prune_epochs", "prune_lr: prune_epochs"],
        ),
        (
            {"name": "hydra", "finetune_epochs": 0, "finetune_lr": 1},
            ["finetune_lr: finetune_epochs"],
        ),
    ],
)
def test_what_is_of_a_training_that_is_left_out_is_told(
    table: dict[str, Any], told: list[str]
) -> None:
    asked = {"name": "rap-admm", **table}
    where = f"compression 1 {asked['name']!r}: "
    expected = [
        f"{where}{name} does nothing unless {other} is above 0."
        for name, other in (one.split(": ") for one in told)
    ]
    assert sorted(small_study(compression=[asked]).unused()) == sorted(expected)


@pytest.mark.parametrize("section", ["compressions", "attacks", "training"])
def test_conditions_name_parameters_and_values_that_exist(section: str) -> None:
    for entry in catalog.section(section).values():
        for base in entry.params.__mro__:
            for name, (other, values) in vars(base).get("only_with", {}).items():
                fields = entry.params.model_fields
                assert name in fields
                for value in values:
                    assert TypeAdapter(fields[other].annotation).validate_python(value) == value


def test_a_dataset_is_named_by_its_source() -> None:
    assert DatasetSpec(folder="/data/my digits").label == "my digits"
    assert DatasetSpec(npz="/data/x.npz").id == "npz"


def test_names_can_be_swept_and_are_looked_at_one_by_one() -> None:
    study = small_study(attack=[{"name": ["fgsm", "pgd"], "eps": 0.1}])
    assert [attack.name for attack in study.attack_specs()] == ["fgsm", "pgd"]
    assert study.unused() == ()


def test_steps_beside_a_name_is_a_parameter_of_that_method() -> None:
    table = {"name": "qat", "bits": 4, "steps": ["layer", "channel"]}
    study = small_study(compression=[table])
    asked = [recipe[0].params["steps"] for recipe in study.recipes() if recipe]
    assert asked == ["layer", "channel"]
    inside = small_study(compression=[{"steps": [table]}])
    assert inside.recipes() == study.recipes()
    for wrong in ({"name": "magnitude", "steps": [table]}, {"steps": []}, {"steps": "qat"}):
        with pytest.raises(SpecError, match="must be a list of steps and stand alone"):
            small_study(compression=[wrong]).recipes()
    with pytest.raises(SpecError, match="steps"):
        small_study(compression=[{"name": "qat", "steps": "row"}]).recipes()
