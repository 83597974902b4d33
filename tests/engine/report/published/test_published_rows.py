"""The files of published figures: what can be read, what cannot, and what holds for every row."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from scipy.stats import binomtest

from engine import catalog
from engine.catalog.models.architectures import ARCHITECTURES
from engine.errors import SpecError
from engine.report.published.arithmetic import smallest_sample
from engine.report.published.rows import PublishedRow, folder, published, read

ROWS = published()
PREPRINT = [row for row in ROWS if row.source.kind == "review"]

GOOD = {
    "title": "A paper",
    "kind": "paper",
    "year": 2020,
    "address": "https://example.org/paper",
    "n": 100,
    "n_basis": "the paper",
    "model": [
        {
            "label": "A",
            "system": "Hydra",
            "clean": 80,
            "results": [{"attack": "pgd", "eps": "8/255", "robust": 40}],
        }
    ],
}


def name(row: PublishedRow) -> str:
    return f"{row.source.id}: {row.model.label}, {row.result.attack}"


def file(tmp_path: Path, table: dict[str, object]) -> Path:
    path = tmp_path / "paper.toml"
    path.write_text(tomli_w.dumps(table), "utf-8")
    return path


def test_a_row_is_read(tmp_path: Path) -> None:
    (row,) = read(file(tmp_path, GOOD))
    assert (row.source.id, row.model.system, row.n) == ("paper", "Hydra", 100)
    assert row.eps == 8 / 255
    assert row.interval == pytest.approx((30.94, 49.80), abs=0.005)  # (40 + z²/2) / (100 + z²) ...


@pytest.mark.parametrize("key", ["title", "kind", "year", "address"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_no_row_without_a_source(tmp_path: Path, key: str, how: str) -> None:
    table = {other: value for other, value in GOOD.items() if other != key}
    if how == "empty":
        table[key] = ""
    with pytest.raises(SpecError, match=rf"paper\.toml: .*{key}"):
        read(file(tmp_path, table))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("clean", 120, "clean is 120"),
        ("clean", "80", "clean is '80'"),
        ("clean", True, "clean is true"),
        ("pruned", 1, "pruned is 1"),
        ("pruned", 90, "pruned is 90"),
        ("method", "hidra", "method is 'hidra'"),
        ("training", "hydra", "training is 'hydra'"),
        ("stage", "later", "stage is 'later'"),
        ("stated_parameters", 2.5, "stated_parameters is 2.5"),
        ("results", [], "results"),
        ("results", [{"attack": "pgd", "robust": -1}], "results.0.robust is -1"),
        ("results", [{"attack": "", "robust": 1}], "results.0.attack is ''"),
        ("results", [{"attack": "pgd", "robust": 1, "eps": 0}], "results.0.eps is 0"),
        ("results", [{"attack": "pgd"}], "results.0.robust"),
        ("robust", 3, "'robust'"),
        ("label", "", "label is ''"),
    ],
)
def test_errors_name_file_row_and_field(
    tmp_path: Path, key: str, value: object, words: str
) -> None:
    (model,) = GOOD["model"]  # type: ignore[misc]
    table = {**GOOD, "model": [model, {**model, "label": "B", key: value}]}
    with pytest.raises(SpecError) as caught:
        read(file(tmp_path, table))
    assert caught.value.message.startswith("paper.toml, row 2")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [({"n_basis": ""}, "n_basis"), ({"model": []}, "model"), ({"nn": 1}, "nn"), ({"n": 0}, "n is")],
)
def test_errors_of_a_source(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=rf"paper\.toml.*{words}"):
        read(file(tmp_path, {**GOOD, **change}))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "paper.toml"
    for content in (b"title = ", b"\xff\xfe", b""):
        path.write_bytes(content)
        with pytest.raises(SpecError, match=r"paper\.toml"):
            read(path)
    with pytest.raises(SpecError, match=r"none\.toml cannot be read"):
        read(tmp_path / "none.toml")


def test_a_figure_that_is_no_count_has_no_interval(tmp_path: Path) -> None:
    (model,) = GOOD["model"]  # type: ignore[misc]
    odd = {**model, "results": [{"attack": "pgd", "robust": one} for one in (40, 40.5)]}
    rows = read(file(tmp_path, {**GOOD, "model": [odd, model]}))
    assert [row.n for row in rows] == [None, None, 100]
    assert rows[0].interval is None


def test_every_row_says_where_it_is_from_and_means_what_there_is() -> None:
    words = {"VGG16", "attack of the paper, not named there", "attack of the user, not named there"}
    for row in ROWS:
        assert row.source.title, name(row)
        assert row.source.address.startswith("https://"), name(row)
        assert row.place or row.quoted_from, name(row)
        assert all(0 <= figure <= 100 for figure in row.model.figures), name(row)
        assert row.model.clean is None or row.result.robust <= row.model.clean, name(row)
        assert row.dataset in {"", *catalog.section("datasets")}, name(row)
        # A slip of the pen in an id would be words, and found by nobody.
        assert row.result.attack in {*words, *catalog.section("attacks")}, name(row)
        networks = {row.model.architecture, row.model.teacher}
        assert networks <= {"", *words, *ARCHITECTURES}, name(row)


def test_a_row_of_a_table_is_there_once() -> None:
    keys = [
        (row.source.id, row.dataset, row.model.label, row.result.attack, row.result.setting)
        for row in ROWS
    ]
    assert len(set(keys)) == len(keys)


def test_every_file_is_read_and_packed() -> None:
    assert {row.source.id for row in ROWS} == {path.stem for path in folder().glob("*.toml")}
    for path in folder().glob("*.toml"):
        table = tomllib.loads(path.read_text("utf-8"))
        results = sum(len(model["results"]) for model in table["model"])
        assert results == sum(row.source.id == path.stem for row in ROWS)


def test_intervals_are_those_of_scipy() -> None:
    for row in ROWS:
        if row.n is None:
            assert row.interval is None, name(row)
            continue
        wanted = binomtest(round(row.result.robust * row.n / 100), row.n).proportion_ci(
            method="wilson"
        )
        assert row.interval == pytest.approx((100 * wanted.low, 100 * wanted.high)), name(row)


@pytest.mark.parametrize(
    ("percent", "low", "high"),
    [(0, 0.0, 7.1), (8, 3.2, 18.8), (36, 24.1, 49.9), (44, 31.2, 57.7), (52, 38.5, 65.2)],
)
def test_intervals_of_fifty_images(percent: float, low: float, high: float) -> None:
    (ends, *_) = (row.interval for row in PREPRINT if row.result.robust == percent and row.n)
    assert ends == pytest.approx((low, high), abs=0.05)


def test_the_preprint_is_whole() -> None:
    assert len({row.model.label for row in PREPRINT}) == 17
    assert len(PREPRINT) == 16 * 3 + 2
    known = [row for row in PREPRINT if row.n]
    assert len(known) == 48
    assert smallest_sample(row.result.robust for row in known) == known[0].n == 50
    assert not known[0].source.n_stated
    assert all(row.model.clean is row.eps is None and not row.dataset for row in PREPRINT)


def test_what_was_not_read_says_who_is_quoted() -> None:
    read_by_us = {"preprint-2025", "hydra-2020", "robustbench", "adversarial-pruning-benchmark"}
    read_by_us |= {"ard-replications"}
    assert all(row.quoted_from for row in ROWS if row.source.id not in read_by_us)
    assert not any(row.n for row in ROWS if row.quoted_from)
