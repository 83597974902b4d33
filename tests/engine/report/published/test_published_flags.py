"""What published rows are doubted for: which rows, and with which numbers in the reason."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from engine.flags import Flag
from engine.report.published.result_flags import ALLOWANCE, flags_of, in_ball, same_network
from engine.report.published.rows import PublishedModel, PublishedRow, published, read
from engine.report.published.size_flags import size_flags, true_rate

ROWS = published()
FLAGS = {id(row): flags_of(row, ROWS) for row in ROWS}


def found(label: str, flag: str, attack: str = "", source: str = "preprint-2025") -> list[str]:
    """The reasons of a flag on rows of this label, each once."""
    rows = [row for row in ROWS if (row.source.id, row.model.label) == (source, label)]
    assert rows
    texts = [
        one.text
        for row in rows
        if attack in ("", row.result.attack)
        for one in FLAGS[id(row)]
        if one.id == flag
    ]
    return list(dict.fromkeys(texts))


def with_flag(flag: str) -> set[tuple[str, str]]:
    """The labels and attacks of the preprint that bear a flag."""
    return {
        (row.model.label, row.result.attack)
        for row in ROWS
        if row.source.kind == "review" and flag in {one.id for one in FLAGS[id(row)]}
    }


HYDRA = (
    "Hydra finetune 99x, wrn_28_4",
    "Hydra finetune 95x, wrn_28_4",
    "Hydra finetune 90x, wrn_28_4",
)
PGDS = ("fb-pgd", "apgd-ce", "apgd-dlr")


@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        (HYDRA[0], "122,283 is 0.01 x 12,228,394|0.01 x 5,841,840 = 58,418 weights and 7,210"),
        (HYDRA[1], "611,419 is 0.05 x 12,228,394|0.05 x 5,841,840 = 292,092 weights"),
        (HYDRA[2], "1,222,839 is 0.1 x 12,228,394|0.1 x 5,841,840 = 584,184 weights"),
    ],
)
def test_counts_of_masked_networks(label: str, numbers: str) -> None:
    (text,) = found(label, "scores-counted")
    assert all(part in text for part in numbers.split("|")), text
    assert "each of 6,110,128 weights" in text
    assert "(269,216 parameters)" in text  # 6,118,266 - 5,849,050


@pytest.mark.parametrize(
    ("label", "end"), [(HYDRA[0], "100x."), (HYDRA[1], "20x."), (HYDRA[2], "10x.")]
)
def test_shares_given_as_rates(label: str, end: str) -> None:
    (text,) = found(label, "share-as-rate")
    assert text.endswith(end)


@pytest.mark.parametrize(
    ("rate", "numbers"),
    [
        ("8x", "1,396,745 is 11,173,962 / 8|1,409,634 values are not zero: 7.93x"),
        ("12x", "931,163 is 11,173,962 / 12|944,666 values are not zero: 11.83x"),
        ("16x", "698,373 is 11,173,962 / 16|712,182 values are not zero: 15.69x"),
    ],
)
def test_counts_that_are_quotients(rate: str, numbers: str) -> None:
    for stage in ("RAP_prune", "RAP_fine"):
        (text,) = found(f"{stage} {rate}", "not-counted")
        assert all(part in text for part in numbers.split("|")), text


@pytest.mark.parametrize("system", ["ARD", "RSLAD"])
@pytest.mark.parametrize(
    ("student", "size", "rate"),
    [
        ("MobileNetV2", "3.4M|3,504,872|2,296,922", "36,479,194 / 3.4M|WideResNet-28-10|= 20.10x"),
        ("ResNet", "11.7M|11,689,512|11,173,962", "36,479,194 / 11.7M|WideResNet-28-10|= 4.13x"),
    ],
)
def test_students_of_the_size_of_imagenet(system: str, student: str, size: str, rate: str) -> None:
    for flag, parts in (("imagenet-size", size), ("other-networks", rate)):
        (text,) = found(f"{system} WRN to {student}", flag)
        assert all(part in text for part in parts.split("|")), text


def test_a_rate_of_networks_that_did_not_take_part() -> None:
    (text,) = found("IAD-I resnet18", "other-networks")
    assert "38,119,866 / 11,173,962 (WideResNet-28-10, with a stage" in text
    assert text.endswith("= 1.00x.")
    assert not found("IAD-I resnet18", "imagenet-size")


def test_the_odd_figure_of_a_row() -> None:
    assert with_flag("contradicts-row") == {("RSLAD WRN to ResNet", "apgd-dlr")}
    (text,) = found("RSLAD WRN to ResNet", "contradicts-row")
    assert "4 % [1.1, 13.5] under apgd-dlr beside 44 % [31.2, 57.7] under apgd-ce" in text
    assert "We take" in text


def test_figures_that_others_contradict() -> None:
    hydra = {(label, attack) for label in HYDRA for attack in PGDS}
    assert with_flag("contradicts-others") == hydra | {("RSLAD WRN to ResNet", "apgd-dlr")}
    for label, figure in zip(HYDRA, ("47.3", "54.2", "55.2"), strict=True):
        texts = found(label, "contradicts-others")
        assert all(f"{figure} % (hydra-2020, pgd)" in text for text in texts)
    (text,) = found("RSLAD WRN to ResNet", "contradicts-others")
    assert "51.49 % (rslad-2021, autoattack)" in text


def test_figures_at_chance() -> None:
    assert with_flag("at-chance") == {(label, attack) for label in HYDRA for attack in PGDS}
    assert "8 / 8 / 8 %" in found(HYDRA[0], "at-chance")[0]
    assert "weakest attack" in found(HYDRA[0], "at-chance")[0]
    assert "weakest attack" not in found(HYDRA[1], "at-chance")[0]


def test_the_quantised_row() -> None:
    label = "Quanztion 32x"
    (text,) = found(label, "off-grid", "cw-l2")
    assert "multiple of 250" in text
    assert "[43.1, 55.4]" in text
    assert found(label, "no-bound", "cw-l2")
    assert not found(label, "no-bound", "pgd")
    assert found(label, "undefended", "pgd")
    assert found(label, "weights-alone")
    assert {row for row, _ in with_flag("off-grid")} == {label}


def test_what_an_inference_is_says_so() -> None:
    for flags in FLAGS.values():
        for flag in flags:
            if flag.id in {"at-chance", "contradicts-row", "undefended"}:
                assert re.search(r"\b[Ww]e take", flag.text), flag


def test_sources_that_differ() -> None:
    (text,) = found("RSLAD, ResNet-18", "sources-differ", source="rslad-2021")
    assert text.count("%") == 3
    assert not found("RSLAD WRN to ResNet", "sources-differ")


def test_the_allowance_covers_what_is_known_of_one_attack_and_another() -> None:
    figures: dict[PublishedModel, list[float]] = defaultdict(list)
    for row in ROWS:
        if row.source.kind != "review" and in_ball(row):
            figures[row.model].append(row.result.robust)
    gaps = [max(found) - min(found) for found in figures.values() if len(found) > 1]
    assert gaps
    assert max(gaps) <= ALLOWANCE


def test_every_flag_has_a_reason_that_ends() -> None:
    for flags in FLAGS.values():
        texts = [flag.text for flag in flags]
        assert all(text.strip() and text.endswith(".") for text in texts)
        assert len(set(texts)) == len(texts)


BASE: dict[str, Any] = {"label": "A", "system": "S", "results": [{"attack": "pgd", "robust": 40}]}


WRN, RESNET = {"architecture": "wrn-28-4"}, {"architecture": "resnet-18"}


def sizes(**more: Any) -> set[str]:
    return {flag.id for flag in size_flags(PublishedModel.model_validate({**BASE, **more}))}


@pytest.mark.parametrize(
    ("told", "row"),
    [
        (set(), {}),
        ({"share-as-rate"}, {"pruned": 0.9, "stated_rate": 90}),
        (set(), {"pruned": 0.9, "stated_rate": 10}),
        ({"scores-counted"}, {**WRN, "pruned": 0.9, "stated_parameters": 1222839}),
        (set(), {**WRN, "pruned": 0.9, "stated_parameters": 591394}),
        (set(), {"architecture": "wrn-28-10", "pruned": 0.9, "stated_parameters": 1222839}),
        ({"not-counted"}, {**RESNET, "rate": 4, "stated_parameters": 2793490}),
        (set(), {**RESNET, "rate": 4, "stated_parameters": 2804538}),
        (set(), {**RESNET, "stated_parameters": 11173962}),
        (set(), {**RESNET, "stated_parameters": 11200000, "rounded_to": 100000}),
        ({"imagenet-size"}, {**RESNET, "stated_parameters": 11689512}),
        (set(), {"architecture": "mobilenet-v2", "teacher": "wrn-34-10", "stated_rate": 20.1}),
        ({"other-networks"}, {**RESNET, "teacher": "wrn-28-10", "stated_rate": 4.13}),
        (set(), {**RESNET, "teacher": "wrn-28-10", "stated_rate": 7.77}),
        ({"weights-alone"}, {"bits": 4, "stated_rate": 8}),
        (set(), {"bits": 4, "stated_rate": 7.4}),
        ({"two-networks"}, {**RESNET, "named_elsewhere": "VGG"}),
    ],
)
def test_rules_of_size(told: set[str], row: dict[str, Any]) -> None:
    assert sizes(**row) == told


def test_true_rates() -> None:
    rates = [
        true_rate(PublishedModel.model_validate({**BASE, **more}))
        for more in (
            {},
            {"pruned": 0.95, "stated_rate": 95},
            {"rate": 8},
            {**RESNET, "teacher": "wrn-34-10", "stated_rate": 3.12},
        )
    ]
    assert rates == [None, 20, 8, pytest.approx(4.131, abs=1e-3)]


def rows_of(tmp_path: Path, *sources: dict[str, Any]) -> list[PublishedRow]:
    rows: list[PublishedRow] = []
    for number, source in enumerate(sources):
        path = tmp_path / f"source{number}.toml"
        head = {"title": "T", "kind": "paper", "year": 2020, "address": "https://example.org"}
        path.write_text(tomli_w.dumps({**head, **source}), "utf-8")
        rows += read(path)
    return rows


def model(robust: dict[str, float], **more: Any) -> dict[str, Any]:
    results = [{"attack": attack, "robust": figure} for attack, figure in robust.items()]
    return {"label": "A", "system": "S", "architecture": "resnet-18", "results": results, **more}


def ids(flags: tuple[Flag, ...]) -> set[str]:
    return {flag.id for flag in flags}


@pytest.mark.parametrize(
    ("n", "robust", "told"),
    [
        (50, {"pgd": 44, "apgd-dlr": 4}, True),
        (50, {"pgd": 44, "apgd-dlr": 34}, False),  # within sampling
        (10_000, {"pgd": 44, "apgd-dlr": 39}, False),  # within what attacks differ by
        (10_000, {"pgd": 44, "apgd-dlr": 37}, True),
        (10_000, {"pgd": 44, "pgd-l2": 4}, False),  # another ball
        (10_000, {"pgd": 4, "cw-l2": 44}, False),  # no ball
        (10_000, {"pgd": 44, "an attack of theirs": 4}, False),
    ],
)
def test_rule_of_one_row(tmp_path: Path, n: int, robust: dict[str, float], told: bool) -> None:
    rows = rows_of(tmp_path, {"n": n, "n_basis": "the paper", "model": [model(robust)]})
    assert ("contradicts-row" in ids(flags_of(rows[-1], rows))) == told
    assert "contradicts-row" not in ids(flags_of(rows[0], rows))  # the higher one alone is usual


@pytest.mark.parametrize(
    ("mine", "theirs", "more", "told"),
    [
        (10, 50, {}, True),
        (45, 50, {}, False),
        (90, 50, {}, True),
        (10, 50, {"pruned": 0.9}, False),
        (10, 50, {"structured": True}, False),
        (10, 50, {"architecture": "wrn-28-4"}, False),
        (10, 50, {"system": "Other"}, False),
        (10, 50, {"dataset": "svhn"}, False),
        (10, 50, {"stage": "before compression"}, False),
        (10, 50, {"stage": "fine-tuned"}, True),
    ],
)
def test_rule_of_several_sources(
    tmp_path: Path, mine: float, theirs: float, more: dict[str, Any], told: bool
) -> None:
    first = {"n": 100, "n_basis": "the paper", "model": [model({"pgd": mine})]}
    rows = rows_of(tmp_path, first, {"model": [model({"autoattack": theirs}, **more)]})
    assert ("contradicts-others" in ids(flags_of(rows[0], rows))) == told
    assert "contradicts-others" not in ids(flags_of(rows[1], rows))  # without n nothing is told


def test_networks_without_a_name_are_not_the_same(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {"model": [model({"pgd": 1, "fgsm": 2}, architecture="")]})
    assert not same_network(*rows)
