"""Studies that are repeated over seeds: what they expand to, what repeats share, and the keys."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import catalog
from engine.errors import SpecError
from engine.specs.choices import AttackSpec, draws, make_attack, make_step
from engine.specs.study import Run, Study, content_key
from engine.statistics.repeats import components
from engine.store.stage_keys import STAGE_VERSIONS, RunKeys, run_keys
from tests.helpers.studies import small_study

TABLES: dict[str, Any] = {
    "compression": [
        {"name": "magnitude", "sparsity": 0.5},
        {"steps": [{"name": "magnitude", "sparsity": 0.5}, {"name": "finetune", "epochs": 1}]},
    ],
    "attack": [{"name": "pgd", "eps": 0.15, "steps": 5}, {"name": "fgsm", "eps": 0.15}],
}
TRAINED = "magnitude 50% + finetune"


def repeated(*seeds: int, **changes: Any) -> Study:
    return small_study(**{**TABLES, "seeds": list(seeds), **changes})


def keys(run: Run) -> RunKeys:
    return run_keys(run, f"images of {run.seed_of_images}", "model", "fp32", "lesson")


def test_each_seed_is_a_repeat_and_what_is_trained_is_attacked_twice() -> None:
    runs = repeated(4, 2, 9).runs()
    again = [run for run in runs if run.attack_seed is not None]
    assert [(run.seed, run.attack_seed, run.attack.name) for run in again] == [
        (4, 4 + 2**31, "pgd"),
        (2, 2 + 2**31, "pgd"),
        (9, 9 + 2**31, "pgd"),
    ]  # fgsm draws nothing, and what is not trained has one variant that each seed attacks
    assert all(run.compression.startswith(TRAINED) for run in again)
    repeats = runs[: -len(again)]
    alone = small_study(**TABLES).runs()
    asked = [(run.seed, run.recipe, run.attack) for run in repeats]
    assert asked == [(seed, one.recipe, one.attack) for seed in (4, 2, 9) for one in alone]


@pytest.mark.parametrize("seeds", [(0, 1), (7, 3, 5)])
def test_an_effect_of_the_seed_of_an_attack_is_not_taken_for_less_training(
    seeds: tuple[int, ...],
) -> None:
    """An attack's seed does the same to all variants; those of a study must not share one."""
    drawn = [(run.seed, run.seed_of_attack) for run in repeated(*seeds).runs() if _trained(run)]
    common = {attack: place for place, attack in enumerate(dict.fromkeys(at for _, at in drawn))}
    random = np.random.default_rng(3)
    found = []
    for _ in range(4000):
        trained = dict(zip(seeds, random.normal(size=len(seeds)), strict=True))
        of_seed, apart = random.normal(size=len(common)), random.normal(size=(len(seeds), 2))
        planned = [
            [trained[seed] + of_seed[common[at]] for one, at in drawn if one == seed]
            for seed in seeds
        ]
        independent = [trained[seed] + two for seed, two in zip(seeds, apart, strict=True)]
        both = [components(groups) for groups in (planned, independent)]
        found.append([(one.training, one.attack) for one in both if one])
    as_planned, right = np.mean(found, axis=0)
    assert as_planned == pytest.approx(right, rel=0.1)


def _trained(run: Run) -> bool:
    return len(run.recipe) == 2 and run.attack.name == "pgd"


def test_a_worst_case_is_not_attacked_twice() -> None:
    study = repeated(0, 1, mode="worst-case")
    assert study.attack_specs()[0].draws
    assert study.count_second() == 0
    assert all(run.attack_seed is None for run in study.runs())


def test_what_is_planned_is_what_runs() -> None:
    study = repeated(0, 1, model=[{"name": "digits-resnet"}, {"name": "digits-resnet-at"}])
    runs = study.runs()
    assert study.count() == len(runs) == 2 * 2 * 3 * 2 + 2 * 2
    told = [study.planned(number) for number in range(len(runs))]
    assert told == [(run.model, run.recipe, run.attack, run.seed, run.attack_seed) for run in runs]
    with pytest.raises(IndexError):
        study.planned(len(runs))


def test_the_first_repeat_is_the_study_of_that_seed_alone() -> None:
    several, alone = repeated(3, 5), small_study(**TABLES, seed=3)
    assert several.runs()[: alone.count()] == alone.runs()


def test_repeats_share_images_and_what_draws_nothing_and_nothing_else() -> None:
    found = [keys(run) for run in repeated(0, 1).runs()]
    runs = repeated(0, 1).runs()
    assert len({one.data for one in found}) == 1
    variants = {
        name: len({key.variant for key, run in zip(found, runs, strict=True) if which(run)})
        for name, which in {
            "base": lambda run: not run.recipe,
            "pruned": lambda run: len(run.recipe) == 1,
            "trained": lambda run: len(run.recipe) == 2,
        }.items()
    }
    assert variants == {"base": 1, "pruned": 1, "trained": 2}
    assert len({one.run for one in found}) == len(runs)
    # The pruning before a training is made once, and is that of the pruned variant.
    prefixes = {
        keys(run.model_copy(update={"recipe": run.recipe[:1]})).variant
        for run in runs
        if run.recipe
    }
    assert len(prefixes) == 1


def test_one_seed_has_the_keys_that_it_always_had() -> None:
    for run in small_study(**TABLES, seed=3).runs():
        assert (run.shared_seed, run.attack_seed) == (None, None)
        data = content_key("data", STAGE_VERSIONS["data"], "images", 200)
        steps = [
            {name: value for name, value in step.to_table().items() if name != "attack_start"}
            | {"teachers": []}
            for step in run.recipe
        ]
        for step in steps:
            if "lr" in run.recipe[steps.index(step)].params and "lr" not in step:
                step["lr"] = run.recipe[steps.index(step)].settings.rate  # type: ignore[attr-defined]
        learned = ["lesson"] if len(steps) == 2 else []
        variant = content_key(
            "variant", STAGE_VERSIONS["variant"], "model", steps, 3 if steps else 0, *learned
        )
        table = run.attack.to_table()
        key = content_key("attack", STAGE_VERSIONS["attack"], data, variant, table, 3, "fp32")
        assert run_keys(run, "images", "model", "fp32", "lesson") == (key, variant, data)


def test_a_repeated_study_survives_writing_and_reading(tmp_path: Path) -> None:
    study = repeated(0, 1, 2)
    file = tmp_path / "study.toml"
    file.write_text(study.to_toml())
    assert Study.from_toml(file) == study
    assert "seed = " not in file.read_text()
    assert "seeds" not in small_study().to_dict()  # its content is its name in a database


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 0, "seeds": [0, 1]}, "takes seed, or seeds for repeats, but not both."),
        ({"seeds": [3]}, "seeds is [3] but must name two seeds or more; one is written as seed."),
        ({"seeds": []}, "must name two seeds or more"),
        ({"seeds": 3}, "seeds is 3 but must be a list such as [0, 1, 2]; one is written as seed."),
        ({"seeds": [1, 2, 1]}, "seeds is [1, 2, 1] but must name each seed once."),
        ({"seeds": [0, -1]}, "is -1 but should be greater than or equal to 0."),
        ({"seeds": [0, 2**31]}, "is 2147483648 but"),
        ({"seeds": [0, 1.5]}, "must be an integer"),
        ({"seeds": [0, True]}, "must be an integer"),
        ({"seeds": list(range(101))}, "100"),
    ],
)
def test_bad_seeds_are_refused_in_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        small_study(**changes)
    assert words in str(caught.value)


def test_which_line_to_remove_is_said_where_both_stand() -> None:
    with pytest.raises(SpecError) as caught:
        small_study(seed=0, seeds=[0, 1])
    assert "Remove the line of seed to repeat the study" in caught.value.hint


def test_what_may_draw_is_known_of_every_method() -> None:
    steps = {"magnitude", "filter", "nm-sparsity", "channel", "ptq", "jpeg", "random-resize"}
    known = catalog.section("compressions").keys() - {"none"}
    drawing = {name for name in known if draws((make_step({"name": name}),))}
    assert steps.isdisjoint(drawing)
    assert {"finetune", "hydra", "kd", "qat", "purify"} <= drawing
    assert draws((make_step({"name": "ptq", "activation_bits": 4}),))  # from sampled outputs
    for name, key, certain, random in (
        ("FAB", "n_restarts", 1, 2),
        ("UPGD", "random_start", False, True),
    ):
        table = {"name": f"torchattacks.{name}", "eps": 0.1}
        made = [make_attack({**table, key: value}) for value in (certain, random)]
        assert [one.draws for one in made] == [False, True]
    fab = {"name": "torchattacks.FAB", "eps": 0.1}
    tables = ({"name": "fgsm", "eps": 0.1}, {"name": "pgd", "eps": 0.1}, fab)
    members = map(make_attack, (*tables, {**fab, "n_restarts": 2}))
    for one, drawn in zip(members, (False, True, False, True), strict=True):
        inside = {"eps": 0.1, "norm": "Linf", "attacks": [one.model_dump(mode="json")]}
        assert AttackSpec(name="worst-case", params=inside).draws == drawn


def test_the_seeds_of_a_run_are_its_own_unless_it_says_otherwise() -> None:
    (alone, *_) = small_study(seed=7).runs()
    assert {alone.seed_of_images, alone.seed_of_variant, alone.seed_of_attack} == {7}
    for run in repeated(7, 8).runs():
        assert run.seed_of_images == 7
        assert run.seed_of_variant == (run.seed if len(run.recipe) == 2 else 7)
        assert run.seed_of_attack == (run.seed if run.attack_seed is None else run.attack_seed)
    attacks = itertools.groupby(repeated(7, 8).runs(), key=lambda run: run.attack_seed is None)
    assert [first for first, _ in attacks] == [True, False]  # what tells apart comes last
