"""Exports of many runs: written piece by piece, and byte for byte as if formed at once."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tabulate import tabulate

from engine import catalog
from engine.cli.main import main
from engine.report.cells import cell, in_pieces, markdown
from engine.report.naming import shortened
from engine.report.tables import _COLUMNS, _NUMERIC, csv_of_columns, result_pieces, results_text
from engine.store import MORE_COLUMNS, RESULT_COLUMNS, Store, Writer
from engine.store.result_rows import VALUES, Told, result_rows
from tests.helpers import fake_results

ODD = (
    "=1+1",
    " @sum(x)",
    "two\nlines",
    'quote " and, comma',
    "ünïcode ☃ \u2028 \x07",
    "-5",
    "-5e3x",
    "",
    "＝wide",
)
TITLES = {"digits-resnet": "A title, with comma"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every state, with names and notes that need care, and shares that are odd."""
    path = tmp_path_factory.mktemp("odd") / "lab.db"
    fake_results.fill(path)
    with Writer(path) as store:
        ids = [row["run_id"] for row in store.results()]
        for run_id, text in zip(ids, itertools.cycle(ODD), strict=False):
            store.annotate(run_id, tags=text, note=text * 2)
        store.set_deleted(ids[3:4])
        with store.db.atomic():
            for run_id, text in zip(ids[4:], ODD, strict=False):
                store.db.execute("UPDATE runs SET dataset = ? WHERE id = ?", (text, run_id))
            store.db.execute("UPDATE runs SET eps = NULL, attack_id = 'fmn' WHERE id = 2")
            store.db.execute("UPDATE runs SET seconds = 9e999, robust_accuracy = 1 WHERE id = 5")
            flags = [fake_results.MASKED, {**fake_results.MASKED, "id": "another"}]
            store.db.execute("UPDATE runs SET flags = ? WHERE id = 6", (json.dumps(flags),))
            verdict = json.dumps({"flags": flags[1:], "survivors": 7})
            store.db.execute("UPDATE runs SET verdict = ? WHERE id IN (6, 7)", (verdict,))
    return path


def at_once(rows: Sequence[Mapping[str, Any]], format_: str, titles: Any) -> str:
    """How results were formed before they came in pieces."""
    told: list[Any] = list(rows)
    if titles is not None:
        told = [{**row, "model_title": titles.get(row["model"], row["model"])} for row in rows]
    if format_ == "json":
        finite = [{key: _finite(value) for key, value in row.items()} for row in told]
        return json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format_ != "csv":
        return for_reading(told, {"latex": "latex_booktabs", "markdown": "github"}.get(format_))
    columns = (*RESULT_COLUMNS, *MORE_COLUMNS, *(() if titles is None else ("model_title",)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in told:
        flat = {**row, "flags": ";".join(flag["id"] for flag in row["flags"])}
        writer.writerow([cell(flat[name]) for name in columns])
    return text.getvalue()


def for_reading(rows: list[dict[str, Any]], style: str | None) -> str:
    short = shortened(rows)
    rows = [{**row, "compression": short.get(row["compression"], "")} for row in rows]
    several = len({row["seed"] for row in rows}) > 1
    columns = {name: one for name, one in _COLUMNS.items() if several or name != "seed"}
    cells = [[one(row) for one in columns.values()] for row in rows]
    if style == "github":
        cells = [
            [
                text if name in _NUMERIC else markdown(text)
                for name, text in zip(columns, line, strict=True)
            ]
            for line in cells
        ]
    align = ["right" if name in _NUMERIC else "left" for name in columns]
    how = {"disable_numparse": True, "colalign": align}
    return f"{tabulate(cells, list(columns), style or 'simple', **how)}\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize("titles", [None, TITLES])
@pytest.mark.parametrize("many", [0, 1, 400])
def test_pieces_are_what_was_formed_at_once(path: Path, many: int, titles: Any) -> None:
    with Store(path, readonly=True) as store:
        parts = list(store.result_columns())
    if many > 1:
        parts *= many // 15 + 1
    else:
        parts = [{name: column[:many] for name, column in parts[0].items()}] * many
    rows = [row for told in parts for row in result_rows(told)]
    assert "".join(csv_of_columns(parts, titles)) == at_once(rows, "csv", titles)
    for format_ in ("csv", "json"):
        assert results_text(rows, format_, titles) == at_once(rows, format_, titles)


@pytest.mark.parametrize("format_", ["csv", "json", "table", "markdown", "latex"])
def test_the_command_prints_the_same(path: Path, format_: str) -> None:
    done = CliRunner().invoke(main, ["results", "--db", str(path), "--format", format_])
    assert done.exit_code == 0, done.output
    with Store(path, readonly=True) as store:
        rows = store.results()
    titles = None if format_ == "table" else catalog.models.cards.titles()
    assert done.stdout == at_once(rows, format_, titles)


def a_million(taken: list[int]) -> Iterator[Told]:
    values = dict.fromkeys(VALUES, 0.125) | {"flags": [], "model": "m", "recipe": []}
    for number in range(10**4):
        taken.append(number)
        yield {name: [value] * 100 for name, value in values.items()}


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_no_more_rows_are_read_than_were_written(format_: str) -> None:
    taken: list[int] = []
    parts = a_million(taken)
    if format_ == "csv":
        pieces = csv_of_columns(parts, None)
    else:
        rows = itertools.chain.from_iterable(map(result_rows, parts))
        pieces = result_pieces(rows, format_)
    assert taken == []
    for number, piece in enumerate(itertools.islice(pieces, 3), 1):
        assert len(piece) > 1000
        assert len(taken) < number * 20


def test_memory_does_not_grow_with_the_runs() -> None:
    peaks = []
    for count in (20, 200):
        tracemalloc.start()
        for _ in csv_of_columns(itertools.islice(a_million([]), count), None):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20_000 * 40  # a hundredth of the rows that came


def test_short_texts_are_put_together() -> None:
    texts = [str(number) for number in range(50_000)]
    pieces = list(in_pieces(texts))
    assert "".join(pieces) == "".join(texts)
    assert len(pieces) < 10
