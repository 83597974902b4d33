"""Tables and exports, read back by other means than they were written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import catalog
from engine.errors import SpecError
from engine.report.listing import section_json, section_text
from engine.report.tables import RESULT_FORMATS, results_text, samples_bytes, with_interval
from engine.store import MORE_COLUMNS, RESULT_COLUMNS, SAMPLE_COLUMNS, ResultRow, Store
from tests.helpers.filled_store import N, fill


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "results.db"
    fill(path)
    with Store(path, readonly=True) as opened:
        yield opened


@pytest.fixture
def rows(store: Store) -> list[ResultRow]:
    return store.results()


def test_csv_holds_every_column_raw(rows: list[ResultRow]) -> None:
    back = list(csv.DictReader(io.StringIO(results_text(rows, "csv"))))
    assert tuple(back[0]) == (*RESULT_COLUMNS, *MORE_COLUMNS)
    for row, line in zip(rows, back, strict=True):
        assert float(line["robust_accuracy"]) == row["robust_accuracy"]
        assert float(line["ci_low"]) == row["ci_low"]
        assert line["study"] == row["study"]
    assert [line["flags"] for line in back] == [""] * 4 + ["likely-masking"] * 2


def test_json_is_what_the_store_gave(rows: list[ResultRow]) -> None:
    assert json.loads(results_text(rows, "json")) == rows


def test_json_never_writes_nan(rows: list[ResultRow]) -> None:
    odd = [{**rows[0], "seconds": float("nan"), "queries_per_sample": float("inf")}]
    back = json.loads(results_text(odd, "json"), parse_constant=pytest.fail)
    assert back[0]["seconds"] is back[0]["queries_per_sample"] is None


@pytest.mark.parametrize("format_", ["table", "latex", "markdown"])
def test_people_see_the_interval_the_flags_and_the_state(
    rows: list[ResultRow], format_: str
) -> None:
    lines = results_text(rows, format_).splitlines()
    (masked,) = [line for line in lines if "ptq w2" in line and "fgsm" in line]
    assert with_interval(rows[4]) in masked
    assert "likely-masking" in masked
    assert "finished" in masked


def test_interval_is_in_percent() -> None:
    row = {"robust_accuracy": 0.632, "ci_low": 0.5899, "ci_high": 0.6726}
    assert with_interval(row) == "63.2 [59.0, 67.3]"


@pytest.mark.parametrize("format_", ["table", "latex", "markdown", "csv"])
def test_a_waiting_run_is_a_row_without_numbers(rows: list[ResultRow], format_: str) -> None:
    empty = {**dict.fromkeys(rows[0]), "run_id": 77, "flags": [], "status": "waiting"}
    text = results_text([empty], format_)
    assert "77" in text
    assert "waiting" in text
    assert "None" not in text


def test_markdown_cells_do_not_break_the_table(rows: list[ResultRow]) -> None:
    text = results_text([{**rows[0], "dataset": "a|b"}], "markdown")
    counts = {line.replace("\\|", "").count("|") for line in text.splitlines()}
    assert len(counts) == 1


def test_latex_escapes_what_latex_would_read_as_command(rows: list[ResultRow]) -> None:
    text = results_text([{**rows[2], "dataset": "my_50%_set"}], "latex")
    assert r"my\_50\%\_set" in text
    assert r"magnitude 50\%" in text


@pytest.mark.parametrize("format_", RESULT_FORMATS)
def test_no_rows_is_still_a_table(format_: str) -> None:
    text = results_text([], format_)
    assert text.endswith("\n")
    assert text == "[]\n" or "status" in text


def test_unknown_formats_are_named() -> None:
    with pytest.raises(SpecError, match=r"'xml'.*csv"):
        results_text([], "xml")
    with pytest.raises(SpecError, match=r"'xml'.*npz"):
        samples_bytes([], {}, "xml")


def test_samples_agree_in_all_formats(store: Store) -> None:
    samples, images = store.samples(3), store.images(3)
    from_csv = list(csv.DictReader(io.StringIO(samples_bytes(samples, images, "csv").decode())))
    from_json = json.loads(samples_bytes(samples, images, "json"))
    assert tuple(from_csv[0]) == tuple(from_json[0]) == SAMPLE_COLUMNS
    assert from_json == samples
    with np.load(io.BytesIO(samples_bytes(samples, images, "npz"))) as npz:
        assert npz["broken"].sum() == 6
        assert npz["broken"].dtype == bool
        for name in ("index", "l2", "broken_at_step"):
            assert npz[name].tolist() == [row[name] for row in samples]
            assert [float(line[name]) for line in from_csv] == npz[name].tolist()
        assert npz["index"].shape == (N,)
        assert npz["clean"].shape == npz["adversarial"].shape == (3, 1, 8, 8)
        assert npz["image_index"].shape == (3,)


def test_listing_names_every_id_and_parameter() -> None:
    for name in catalog.SECTIONS:
        text, data = section_text(name), json.loads(section_json(name))
        assert [entry["id"] for entry in data] == list(catalog.section(name))
        for entry in catalog.section(name).values():
            assert f"\n{entry.id}  (" in f"\n{text}"
            assert all(f"    {field} = " in text for field in entry.params.model_fields)
