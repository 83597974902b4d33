"""Whatever somebody called a folder or a model, exports hold it as words."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.report.cells import cell, csv_text, markdown, one_line
from engine.report.tables import _COLUMNS, results_text
from engine.report.transfer import transfers_text
from engine.store import TRANSFER_COLUMNS, Store
from tests.helpers.filled_store import fill

FORMULAS = (
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+cmd",
    "-2+3+cmd|x",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "\n@x",
)
NASTY = 'a|b\n\\c `d` *e* _f_ <b>g</b> [h](i) {j} $k$ %l ~m~ \x1b[31m n\u202e \u2028 "o", p\ro\0'


@pytest.mark.parametrize("text", FORMULAS)
def test_a_name_is_no_formula(text: str) -> None:
    _, (back,) = csv.reader(io.StringIO(csv_text(["x"], [[text]])))
    assert back.startswith("'")
    assert back[1:].strip() == text.strip()


@given(st.one_of(st.integers(), st.floats(), st.none(), st.booleans()))
def test_numbers_stay_numbers(value: object) -> None:
    assert cell(value) is value
    assert cell(str(value)) == str(value)


@given(st.text())
def test_no_text_begins_as_a_formula_or_breaks_the_line(text: str) -> None:
    written = cell(text)
    assert written.isprintable()
    assert not written.strip().startswith(("=", "@"))
    if written.strip().startswith(("+", "-")):
        float(written)


@given(st.lists(st.text()))
def test_csv_is_read_back_cell_by_cell(texts: list[str]) -> None:
    head, *rows = csv.reader(io.StringIO(csv_text(["x"], [[text] for text in texts])))
    assert head == ["x"]
    assert [row[0] if row else "" for row in rows] == [cell(text) for text in texts]


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.binary(max_size=4),
    st.text(max_size=6),
    st.text("ab1 ,\"'=+-@.:_\n\r\u2028\xb2é＝", max_size=6),
)


FEW = st.sampled_from(
    [(0.0, -0.0), (1, 1.0, True), (0, False, -0.0), ("", None), ("=a", "b"), (1, 2), (0.5, 1.5)]
)
ALIKE = st.lists(FEW, min_size=1, max_size=4).flatmap(
    lambda columns: st.lists(st.tuples(*map(st.sampled_from, columns)).map(list), max_size=12)
)
"""Rows whose columns hold one value or two again and again, some equal to each other."""


@given(
    st.one_of(
        ALIKE,
        st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n))),
    )
)
def test_csv_is_what_the_library_writes_of_cells(rows: list[list[object]]) -> None:
    columns = ["a", "b, c", "d", ""][: len(rows[0]) if rows else 4]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *([cell(value) for value in row] for row in rows)])
    assert csv_text(columns, rows) == text.getvalue()


def test_csv_of_more_texts_than_are_kept() -> None:
    rows = [(f"a{number % 1500}", f"=b{number}", "c, d", 1.0, 1, -0.0) for number in range(4000)]
    lines = csv_text(list("abcdef"), rows).splitlines()
    assert lines[1:] == [f'{a},\'{b},"c, d",1.0,1,-0.0' for a, b, *_ in rows]


@given(st.text())
def test_markdown_shows_the_text_itself(text: str) -> None:
    written = markdown(text)
    assert re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", written) == one_line(text)
    bare = re.sub(r"\\.", "", written)
    assert not set(bare) & set("\\`*[]<>|~&")
    assert not re.search(r"(?<!\w)_|_(?!\w)", re.sub(r"\\.", "a", written))


def test_names_with_underscores_inside_stay_as_they_are() -> None:
    assert markdown("resnet_18_a") == "resnet_18_a"
    assert markdown("_x_") == "\\_x\\_"


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, object]]:
    path = tmp_path / "results.db"
    fill(path)
    with Store(path, readonly=True) as store:
        return [{**row, "dataset": NASTY, "model": "=1+1|x"} for row in store.results()]


def test_tables_keep_one_line_per_run(rows: list[dict[str, object]]) -> None:
    for format_, more in (("table", 2), ("markdown", 2)):
        lines = results_text(rows, format_).splitlines()
        assert len(lines) == len(rows) + more
        assert all(line.isprintable() for line in lines)
    cells = [re.split(r"(?<!\\)\|", line) for line in results_text(rows, "markdown").splitlines()]
    assert len({len(line) for line in cells}) == 1


def test_latex_rows_are_rows(rows: list[dict[str, object]]) -> None:
    text = results_text(rows, "latex")
    head, rest = text.split("\\midrule")
    columns = len(re.findall(r"(?<!\\)&", head))
    assert len(_COLUMNS) - 2 <= columns  # a seed that all have in common stands in no column
    body = rest.split("\\bottomrule")[0].strip().splitlines()
    assert len(body) == len(rows)
    for line in body:
        assert line.endswith("\\\\")
        assert len(re.findall(r"(?<!\\)&", line)) == columns
        assert not re.search(r"(?<!\\)[%$#_]", line)


def test_csv_of_results_has_no_formula(rows: list[dict[str, object]]) -> None:
    back = list(csv.DictReader(io.StringIO(results_text(rows, "csv"))))
    assert len(back) == len(rows)
    assert {row["model"] for row in back} == {"'=1+1|x"}
    assert all("\n" not in value for row in back for value in row.values())


def test_transfers_are_written_by_the_same_rules() -> None:
    row = dict.fromkeys(TRANSFER_COLUMNS) | {
        "attack": "=a",
        "source_run": 1,
        "target_run": 2,
        "source_model": "+m\nx",
        "status": "failed",
        "message": "no\npicture",
    }
    (back,) = csv.DictReader(io.StringIO(transfers_text([row], "csv")))
    assert (back["attack"], back["source_model"]) == ("'=a", "'+m x")
    assert len(transfers_text([row], "table").splitlines()) == 3
