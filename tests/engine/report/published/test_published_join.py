"""Published rows beside runs: which belong together, whether intervals overlap, what differs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, cast

import pytest

from engine.catalog.models.cards import ModelCard
from engine.report.published.join import Pair, joined
from engine.report.published.rows import published
from engine.report.published.tables import JOINED_COLUMNS, joined_text
from engine.specs.choices import make_attack, make_step
from engine.store import ResultRow

ROWS = published()


def card(architecture: str, training: str = "trades") -> ModelCard:
    return ModelCard(
        id=architecture, title="", summary="", architecture=architecture, dataset="cifar10",
        shape=(3, 32, 32), classes=10, parameters=1, clean_accuracy=0.8, test_images=10_000,
        fingerprint="", recipe={"training": training},
    )  # fmt: skip


CARDS = {one.id: one for one in map(card, ("wrn-28-4", "resnet-18", "wrn-34-10"))}


def run(
    model: str, *steps: dict[str, Any], attack: str = "apgd-dlr", robust: float = 0.5, **more: Any
) -> ResultRow:
    recipe = [make_step(step).model_dump(mode="json") for step in steps]
    spec = make_attack(attack)
    row = {
        "run_id": 1, "study": "S", "dataset": "cifar10", "n": 200, "model": model,
        "compression": "+".join(step["name"] for step in steps) or "none", "attack": spec.label,
        "attack_id": attack, "eps": spec.eps, "robust_accuracy": robust, "ci_low": robust - 0.07,
        "ci_high": robust + 0.07, "nonzero_parameters": None, "spec": {"recipe": recipe},
    }  # fmt: skip
    return cast(ResultRow, {**row, **more})


HYDRA_99 = {"name": "hydra", "density": 0.01}
HYDRA_SPEC = [make_step(HYDRA_99).model_dump(mode="json")]
RAP_8 = {"name": "rap-admm", "rate": 8}


def found(*runs: ResultRow) -> list[tuple[str, str, str]]:
    pairs = joined(ROWS, runs, CARDS)
    return [(one.row.source.id, one.row.model.label, one.row.result.attack) for one in pairs]


def only(pairs: list[Pair], source: str, label: str) -> Pair:
    (pair,) = [one for one in pairs if (one.row.source.id, one.row.model.label) == (source, label)]
    return pair


def test_the_same_attack_comes_first() -> None:
    label = "Hydra finetune 99x, wrn_28_4"
    dlr = run("wrn-28-4", HYDRA_99)
    assert found(dlr) == [
        ("preprint-2025", label, "apgd-ce"),  # for want of apgd-ce, one of its family
        ("preprint-2025", label, "apgd-dlr"),
    ]
    pairs = joined(ROWS, [dlr, run("wrn-28-4", HYDRA_99, attack="apgd-ce", run_id=2)], CARDS)
    assert [(one.row.result.attack, one.run["run_id"]) for one in pairs] == [
        ("apgd-ce", 2),
        ("apgd-dlr", 1),
    ]


def test_rows_of_several_sources() -> None:
    told = found(run("wrn-28-4", {"name": "hydra", "density": 0.1}, attack="pgd"))
    assert told == [
        ("preprint-2025", "Hydra finetune 90x, wrn_28_4", "fb-pgd"),
        ("hydra-2020", "WRN-28-4, 90 % pruned", "pgd"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        run("resnet-18", HYDRA_99),  # another network, under this attack in no table
        run("wrn-28-4", {"name": "hydra", "density": 0.02}),
        run("wrn-28-4", {"name": "magnitude", "sparsity": 0.99}),
        run("wrn-28-4", HYDRA_99, {"name": "ptq"}),
        run("wrn-28-4"),
        run("wrn-28-4", HYDRA_99, attack="square"),
        run("wrn-28-4", HYDRA_99, attack="fgsm"),  # of the family of pgd, but one step
        run("wrn-28-4", HYDRA_99, robust_accuracy=None),
        run("unknown", HYDRA_99),
        run("wrn-28-4", HYDRA_99, spec={"recipe": HYDRA_SPEC, "attack_seed": 1}),  # attacked again
    ],
)
def test_what_is_not_the_same(other: ResultRow) -> None:
    assert found(other) == []


def test_another_dataset_is_another_thing() -> None:
    told = found(run("wrn-28-4", HYDRA_99, attack="pgd", dataset="svhn"))
    assert {source: label for source, label, _ in told} == {
        "preprint-2025": "Hydra finetune 99x, wrn_28_4",  # states none
        "hydra-2020": "WRN-28-4 SVHN, 99 % pruned",
    }


@pytest.mark.parametrize(
    ("steps", "label"),
    [
        ([RAP_8], "RAP_fine 8x"),
        ([{**RAP_8, "retrain_epochs": 0}], "RAP_prune 8x"),
        ([{**RAP_8, "retrain_epochs": 0}, {"name": "finetune"}], "RAP_fine 8x"),
    ],
)
def test_stages_are_told_apart(steps: list[dict[str, Any]], label: str) -> None:
    assert {one for _, one, _ in found(run("resnet-18", *steps))} == {label}


def test_structured_is_not_unstructured() -> None:
    tenth = {"name": "rap-admm", "rate": 10}
    plain = found(run("resnet-18", tenth, attack="autoattack"))
    filters = found(run("resnet-18", {**tenth, "pattern": "filter"}, attack="autoattack"))
    assert [label for _, label, _ in plain] == ["RADMM ResNet18 90% US"]
    assert [label for _, label, _ in filters] == ["RADMM ResNet18 90% S"]


def test_a_student_is_the_network() -> None:
    step = {"name": "rslad", "student": "mobilenet-v2"}
    assert {label for _, label, _ in found(run("wrn-34-10", step))} == {"RSLAD WRN to MobileNetV2"}


def test_a_base_model_goes_by_its_training() -> None:
    trades = found(run("wrn-34-10", attack="autoattack"))
    assert trades == [("robustbench", "Zhang2019Theoretically", "autoattack")]
    cards = {"wrn-34-10": card("wrn-34-10", "standard")}
    assert not joined(ROWS, [run("wrn-34-10", attack="autoattack")], cards)


@pytest.mark.parametrize(
    ("ends", "overlap"),
    [((0.10, 0.12), True), ((0.188, 0.3), True), ((0.19, 0.3), False), ((0.0, 0.03), False)],
)
def test_intervals_overlap_or_not(ends: tuple[float, float], overlap: bool) -> None:
    measured = run("wrn-28-4", HYDRA_99, ci_low=ends[0], ci_high=ends[1])
    pair = joined(ROWS, [measured], CARDS)[-1]  # 8 % [3.15, 18.84] there
    assert pair.overlap is overlap


def test_what_differs_is_said() -> None:
    measured = run("wrn-28-4", HYDRA_99, attack="pgd", nonzero_parameters=65_628)
    pairs = joined(ROWS, [measured], CARDS)
    review = " ".join(only(pairs, "preprint-2025", "Hydra finetune 99x, wrn_28_4").differences)
    assert "fb-pgd there, pgd-" in review
    assert "dataset is not stated" in review
    assert "122,283 parameters are stated there; 65,628" in review
    assert "0.01 x 12,228,394" in review
    paper = only(pairs, "hydra-2020", "WRN-28-4, 99 % pruned")
    assert paper.overlap is None
    assert "no interval" in " ".join(paper.differences)


@pytest.mark.parametrize(("eps", "said"), [(8 / 255, False), (4 / 255, True)])
def test_another_eps_is_said(eps: float, said: bool) -> None:
    measured = run("wrn-34-10", attack="autoattack", eps=eps)
    (pair,) = joined(ROWS, [measured], CARDS)
    assert ("0.031 there and 4/255 here" in " ".join(pair.differences)) == said
    assert (pair.overlap is None) == said


def test_pairs_as_text_and_as_data() -> None:
    pairs = joined(ROWS, [run("wrn-28-4", HYDRA_99, nonzero_parameters=65_628)], CARDS)
    told = json.loads(joined_text(pairs, ROWS, "json"))
    lines = list(csv.DictReader(io.StringIO(joined_text(pairs, ROWS, "csv"))))
    assert tuple(told[0]) == tuple(lines[0]) == JOINED_COLUMNS
    assert [one["overlap"] for one in told] == [False, False]
    assert float(lines[1]["published_robust_accuracy"]) == 0.08
    for format_ in ("table", "markdown"):
        text = joined_text(pairs, ROWS, format_)
        row = next(line for line in text.splitlines() if "apgd-dlr" in line)
        assert "8 [3.2, 18.8]" in row
        assert "50 [43.0, 57.0]" in row
        words = " ".join(text.split())
        assert "65,628 that are not zero" in words
        assert words.count("0.01 x 12,228,394") == 1
