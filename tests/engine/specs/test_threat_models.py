"""The mode "worst-case": one run per variant and ball, with the attacks that count in it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError
from engine.specs.choices import make_attack
from engine.specs.study import Run, Study, content_key
from engine.statistics.run_verdict import strong_kinds
from tests.helpers.studies import small_study

PGD = {"name": "pgd", "eps": ["4/255", "8/255"]}
SQUARE = {"name": "square", "eps": "8/255"}
FMN = {"name": "fmn", "norm": "Linf"}
L2 = {"name": "pgd-l2", "eps": 0.5}
DDN = {"name": "ddn"}


def worst_case(*attacks: dict[str, Any], **changes: Any) -> Study:
    return small_study(mode="worst-case", attack=list(attacks), **changes)


def test_there_is_one_for_each_ball_with_all_that_count_in_it() -> None:
    study = worst_case(PGD, SQUARE, FMN, L2, DDN)
    balls = [
        (one.norm, one.eps, [member.name for member in one.members]) for one in study.attack_specs()
    ]
    assert balls == [
        ("Linf", 4 / 255, ["pgd", "fmn"]),
        ("Linf", 8 / 255, ["pgd", "square", "fmn"]),
        ("L2", 0.5, ["pgd-l2", "ddn"]),
    ]
    assert study.count() == len(study.runs()) == 2 * 3
    assert [study.planned(number)[2] for number in range(3)] == list(study.attack_specs())
    assert study.attack_specs()[1].label == "worst-case of 3 attacks 8/255"


def test_it_is_written_and_read_as_it_was() -> None:
    study = worst_case(PGD, FMN)
    assert Study.from_dict(study.to_dict()) == study
    assert 'mode = "worst-case"' in study.to_toml()
    for run in study.runs():
        assert Run.model_validate_json(run.model_dump_json()) == run
        assert run.attack.members == tuple(map(make_attack, ({**PGD, "eps": run.attack.eps}, FMN)))


def test_a_study_without_it_has_the_key_that_it_had() -> None:
    study = small_study()
    assert content_key("study", study.to_dict()) == content_key(
        "study",
        {
            "name": "small",
            "seed": 0,
            "keep_images": 200,
            "dataset": {"name": "digits", "limit": 30},
            "model": [{"name": "digits-resnet-at"}],
            "compression": [{"name": "magnitude", "sparsity": 0.5}],
            "attack": [{"name": "pgd", "eps": 0.15, "steps": 5}],
        },
    )


@pytest.mark.parametrize(
    ("attacks", "words"),
    [
        ([DDN], "no attack in L2 has an eps"),
        ([PGD, DDN], "no attack in L2 has an eps .* ddn"),
        ([PGD, {"name": "torchattacks.OnePixel"}], "has no norm"),
        ([{"name": "worst-case"}], "is a mode of a study and no attack"),
        ([{"name": ["pgd", "worst-case"]}], "is a mode of a study and no attack"),
    ],
)
def test_what_counts_in_no_ball_is_refused(attacks: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(SpecError, match=words) as refused:
        worst_case(*attacks)
    assert refused.value.hint


def test_another_mode_is_refused() -> None:
    with pytest.raises(SpecError, match="mode is 'worst' but should be 'worst-case'"):
        small_study(mode="worst")


def test_it_does_and_shows_what_its_attacks_do() -> None:
    (spec,) = worst_case({**SQUARE, "n_queries": 5000}).attack_specs()
    assert "gradient" not in spec.traits
    assert strong_kinds(spec.model_dump()) == {"gradient-free"}
    spec = worst_case(PGD, SQUARE, FMN).attack_specs()[1]
    assert {"gradient", "seeded"} <= spec.traits
    assert "single step" not in spec.traits
    assert strong_kinds(spec.model_dump()) == {"gradient-free", "cross-entropy", "closest"}
