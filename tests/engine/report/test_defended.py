"""The review's table of defences, measured: counted again by hand on a store that is all known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.report.category_changes import changes
from engine.report.cells import csv_text
from engine.report.defended import (
    COLUMNS,
    NO_STANDARD,
    NO_TRAINING,
    Defended,
    defended,
    defended_rows,
    inference,
)
from engine.report.handout import write
from engine.report.handout.measured import defence_table
from engine.statistics.intervals import paired_interval
from engine.store import Store
from tests.helpers.measured_store import N, Told, fill

MODEL = "digits-resnet"
STUDY: dict[str, Any] = {
    "name": "Defences",
    "dataset": {"name": "digits", "limit": N},
    "model": [{"name": MODEL}],
    "compression": [
        {"name": "jpeg"},
        {"name": "bit-depth"},
        {"name": "median"},
        {"name": "purify", "epochs": 8},
        {"name": "defensive-distillation", "student": "digits-cnn", "epochs": 4},
        {"name": "finetune", "training": ["standard", "pgd-at"], "epochs": 6, "eps": 0.15},
    ],
    "attack": [
        {"name": "pgd", "eps": 0.15, "steps": 4},
        {"name": "square", "eps": 0.15},
    ],
}
BLIND = Told({"pgd": range(18), "square": range(5)})


def naive(*, tried: int, missed: int, broken: int) -> dict[str, Any]:
    """What a run keeps of its naive attack."""
    check = {
        "name": "pgd",
        "attack": "naive pgd-4 0.15",
        "tried": tried,
        "broken": list(range(N - broken, N)),
        "missed": list(range(missed)),
        "reason": "",
        "everyone": True,
        "naive": True,
        "images": N,
    }
    held = tried - broken + missed
    return {
        "pgd": {"survivors": [check], "naive": {"n": N, "held": held, "adaptive": tried}},
    }


def trained(*seconds: float, device: str = "cpu") -> list[dict[str, Any]]:
    epochs = [{"seconds": one} for one in seconds]
    return [{"step": "", "seconds": 99.0, "epochs": epochs, "device": device, "precision": "fp32"}]


def passes(one: float, many: float) -> list[dict[str, Any]]:
    return [
        {"batch": 1, "milliseconds": one, "base_milliseconds": 2.0},
        {"batch": 64, "milliseconds": many, "base_milliseconds": 50.0},
    ]


UNTRAINED = [{"step": "", "seconds": 1.0, "epochs": []}]
TOLD = {
    (MODEL, "none"): BLIND,
    # 2 hold against the adaptive attack, 16 more against the naive one.
    (MODEL, "jpeg 75"): Told(
        {"pgd": range(18), "square": range(5)},
        checks=naive(tried=2, missed=16, broken=0),
        steps=UNTRAINED,
        latency=passes(5.0, 100.0),
    ),
    # The naive attack breaks 8 of the 10 that the adaptive one left: it is the stronger one.
    (MODEL, "bit-depth 3"): Told(
        {"pgd": range(10), "square": range(5)},
        checks=naive(tried=10, missed=0, broken=8),
        steps=UNTRAINED,
    ),
    # Both find much the same.
    (MODEL, "median 2x2"): Told(
        {"pgd": range(17), "square": range(5)},
        checks=naive(tried=3, missed=2, broken=1),
        steps=UNTRAINED,
    ),
    (MODEL, "purify 16/255 8ep"): Told(
        {"pgd": range(15), "square": range(16)},
        checks=naive(tried=5, missed=5, broken=0),
        steps=trained(*[6.0] * 8),
        macs=1500,
        parameters=400,
    ),
    (MODEL, "defensive-distillation digits-cnn T20 4ep"): Told(
        {"pgd": range(18), "square": range(5)},
        checks=naive(tried=2, missed=3, broken=0),
        steps=trained(*[1.0] * 8),
    ),
    (MODEL, "finetune standard 6ep"): Told(
        {"pgd": range(18), "square": range(5)}, steps=trained(3.0, 1.0, 2.0, 2.0, 2.0, 2.0)
    ),
    (MODEL, "finetune pgd-at 6ep 0.15"): Told(
        {"pgd": range(8), "square": range(5)}, steps=trained(*[14.0] * 6)
    ),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path = tmp_path_factory.mktemp("defences") / "lab.db"
    fill(path, STUDY, TOLD)
    with Store(path, readonly=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(store: Store) -> dict[str, Defended]:
    rows = store.with_specs(store.results())
    made = defended(changes(rows, store), rows, store)
    return {one.row["compression"].split()[0]: one for one in made}


def test_every_defence_of_the_review_is_there_and_nothing_else(found: dict[str, Defended]) -> None:
    assert {name: one.kinds for name, one in found.items()} == {
        "finetune": ("adversarial training",),
        "purify": ("adversarial purification",),
        "defensive-distillation": ("defensive distillation",),
        "jpeg": ("input transformation",),
        "bit-depth": ("input transformation",),
        "median": ("input transformation",),
    }


def test_false_robustness_is_naive_minus_adaptive_on_the_same_images(
    found: dict[str, Defended],
) -> None:
    jpeg = found["jpeg"].naive
    assert jpeg is not None
    assert (jpeg.held, jpeg.share) == (18, 0.9)
    assert jpeg.false.difference == pytest.approx(18 / 20 - 2 / 20)
    assert (jpeg.false.low, jpeg.false.high) == paired_interval(0, 16, 20)
    assert jpeg.false.p_value == pytest.approx(2 / 2**16)
    worse = found["bit-depth"].naive
    assert worse is not None
    assert (worse.held, worse.false.difference) == (2, pytest.approx(-8 / 20))
    assert found["finetune"].naive is None


def test_the_figure_to_quote_is_the_worst_case_and_says_why(found: dict[str, Defended]) -> None:
    # Of purify the gradient-free attack breaks one more: 4 hold, not the 5 of the adaptive run.
    assert found["purify"].row["attack_id"] == "pgd"
    assert found["purify"].change.survivors == 4
    # What the naive attack broke counts, too: 2 are left of the 10.
    assert found["bit-depth"].change.survivors == 2
    words = {name: one.quote for name, one in found.items()}
    assert "do not know of the defence" in words["jpeg"]
    assert "adaptive one is too weak" in words["bit-depth"]
    assert "both attacks agree" in words["median"]
    assert "nothing is hidden" in words["finetune"]
    assert all(text.startswith("worst case") for text in words.values())
    for one in found.values():
        naive_share = 1.0 if one.naive is None else one.naive.share
        quoted = one.change.survivors / N
        assert quoted <= min(naive_share, one.row["robust_accuracy"] or 0.0) + 1e-9


def test_training_is_beside_a_standard_one_of_as_many_epochs(found: dict[str, Defended]) -> None:
    # A standard epoch takes 2 seconds: 6 x 14 beside 6 x 2, and 8 x 6 beside 8 x 2.
    assert found["finetune"].training.value == pytest.approx(7)
    assert found["purify"].training.value == pytest.approx(3)
    assert found["jpeg"].training.times == NO_TRAINING
    # Of another network no standard training was made.
    assert found["defensive-distillation"].training.times == NO_STANDARD


def test_without_a_standard_training_its_ratio_is_not_told(store: Store) -> None:
    rows = store.with_specs(store.results())
    others = [row for row in rows if row["compression"] != "finetune standard 6ep"]
    made = defended(changes(others, store), others, store)
    (one,) = [one for one in made if one.kinds == ("adversarial training",)]
    assert one.training.times == NO_STANDARD


@pytest.mark.parametrize("other", ["cuda", "cpu"])
def test_two_trainings_of_one_network_and_another_device(tmp_path: Path, other: str) -> None:
    """Distillation trains twice for its epochs; times of two devices are not held together."""
    study = {
        **STUDY,
        "compression": [
            {"name": "finetune", "epochs": 2},
            {"name": "defensive-distillation", "epochs": 3},
        ],
    }
    stored = {
        (MODEL, "none"): BLIND,
        (MODEL, "finetune standard 2ep"): Told(BLIND.broken, steps=trained(2.0, 2.0)),
        (MODEL, "defensive-distillation T20 3ep"): Told(
            BLIND.broken, steps=trained(*[2.0] * 6, device=other)
        ),
    }
    fill(tmp_path / "lab.db", study, stored)
    with Store(tmp_path / "lab.db", readonly=True) as opened:
        rows = opened.with_specs(opened.results())
        (one,) = defended(changes(rows, opened), rows, opened)
    assert one.training.times == ("2x" if other == "cpu" else NO_STANDARD)
    assert "no naive attack was made" in one.quote


def test_costs_of_use_are_ratios_to_the_undefended_model(found: dict[str, Defended]) -> None:
    assert [inference(found["jpeg"], n).value for n in (1, 64)] == [2.5, 2.0]
    assert inference(found["median"], 1).times == "not stored"
    assert (found["purify"].extra_parameters, found["purify"].macs.value) == (150, 3)


def test_the_tables_say_what_is_missing_in_words(found: dict[str, Defended]) -> None:
    made = list(found.values())
    text = csv_text(COLUMNS, defended_rows(made))
    read = {row["compression"]: row for row in csv.DictReader(io.StringIO(text))}
    jpeg = read["jpeg 75"]
    assert (jpeg["naive"], jpeg["adaptive"], jpeg["quote"]) == ("0.9", "0.1", "0.1")
    assert (jpeg["training_ratio"], jpeg["inference_ratio_64"]) == ("", "2.0")
    assert jpeg["remarks"] == "training_ratio: no training"
    shown = defence_table(made).text("markdown") + text
    assert not {"inf", "nan"} & set(shown.replace("|", " ").replace(",", " ").casefold().split())
    assert "none made" in shown


def test_a_report_has_both_tables_on_its_page(store: Store, tmp_path: Path) -> None:
    page = write.write_report(store, "Defences", tmp_path / "report", {})
    text = page.read_text("utf-8")
    for part in ("categories", "defences"):
        assert f'<h2 id="{part}">' in text
        assert f'href="#{part}"' in text
        table, latex = (
            (page.parent / "tables" / f"{part}.{suffix}").read_text("utf-8")
            for suffix in ("csv", "tex")
        )
        lines = len(list(csv.DictReader(io.StringIO(table))))
        assert lines == latex.count("\\\\") - 1 > 0  # each a line, below the heads
    short = (page.parent / "report.md").read_text("utf-8")
    assert "<span>+80.0</span>" in text
    assert "+80.0 [" in short
    assert (page.parent / "figures" / "metrics.svg").is_file()
