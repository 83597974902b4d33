"""Published rows as text, read back by other means than they were written."""

from __future__ import annotations

import csv
import io
import json

import pytest

from engine.errors import SpecError
from engine.report.published.rows import published
from engine.report.published.tables import (
    COLUMNS,
    PUBLISHED_FORMATS,
    compression_words,
    of_system,
    published_text,
)

ROWS = published()


def test_csv_and_json_hold_every_column_of_every_row() -> None:
    lines = list(csv.DictReader(io.StringIO(published_text(ROWS, ROWS, "csv"))))
    told = json.loads(published_text(ROWS, ROWS, "json"))
    assert len(lines) == len(told) == len(ROWS)
    assert tuple(lines[0]) == tuple(told[0]) == COLUMNS
    for row, line, one in zip(ROWS, lines, told, strict=True):
        share = row.result.robust / 100
        assert float(line["robust_accuracy"]) == one["robust_accuracy"] == pytest.approx(share)
        assert line["flags"] == ";".join(flag["id"] for flag in one["flags"])
        assert (line["n"], one["n"]) == (str(row.n or ""), row.n)
        if row.n:
            assert one["ci_low"] <= share <= one["ci_high"]
            assert one["n_basis"]
        else:
            assert one["ci_low"] is one["ci_high"] is one["n_stated"] is None


def test_shares_are_written_as_short_as_they_were_published() -> None:
    told = json.loads(published_text(ROWS, ROWS, "json"))
    assert {0.5149, 0.5714, 0.08, 0.8338} <= {
        one[key] for one in told for key in ("robust_accuracy", "clean_accuracy")
    }


@pytest.mark.parametrize("format_", ["table", "markdown"])
def test_people_see_intervals_flags_and_their_reasons(format_: str) -> None:
    text = published_text(of_system(ROWS, "hydra"), ROWS, format_)
    (first, *_) = [line for line in text.splitlines() if "99 % pruned" in line]
    assert "8 [3.2, 18.8]" in first
    assert "50?" in first
    assert "at-chance" in first
    words = " ".join(text.split())
    assert "122,283 is 0.01 x 12,228,394" in words
    assert words.count("0.01 x 12,228,394") == 1  # once for the three attacks
    assert "None" not in text


def test_a_system_goes_by_its_name_or_its_method() -> None:
    assert of_system(ROWS, "IAD-i") == of_system(ROWS, "iad-1")
    assert {row.model.system for row in of_system(ROWS, "RSLAD")} == {"RSLAD"}
    with pytest.raises(SpecError, match=r"no published system 'hidra'.* Known: .*Hydra"):
        of_system(ROWS, "hidra")


def test_flags_compare_with_all_rows_though_some_are_shown() -> None:
    shown = [row for row in ROWS if row.source.kind == "review"]
    flags = [one["flags"] for one in json.loads(published_text(shown, ROWS, "json"))]
    assert any(flag["id"] == "contradicts-others" for row in flags for flag in row)


def test_no_other_format() -> None:
    with pytest.raises(SpecError, match="xml"):
        published_text(ROWS[:1], ROWS, "xml")
    assert all(published_text(ROWS[:1], ROWS, format_) for format_ in PUBLISHED_FORMATS)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, ""),
        ({"stage": "before compression"}, "before compression"),
        ({"pruned": 0.95}, "95 % pruned"),
        ({"pruned": 0.5, "structured": True}, "50 % pruned, structured"),
        ({"bits": 1}, "1 bit"),
        ({"bits": 4}, "4 bits"),
        ({"teacher": "wrn-34-10", "compression_rate": 4.13}, "from wrn-34-10"),
        ({"compression_rate": 8.0, "stage": "pruned"}, "8x, pruned"),
    ],
)
def test_what_was_done(row: dict[str, object], words: str) -> None:
    empty = {"pruned": None, "structured": False, "bits": None, "teacher": "", "stage": ""}
    assert compression_words({**empty, "compression_rate": None, **row}) == words
