"""Tables of runs without a database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.store.run_changes import COLUMNS, MISSING, StudyMembers, as_changes
from engine.store.run_table import RunTable


def table_of(rows: Sequence[Mapping[str, Any]]) -> RunTable:
    """A table of these rows; columns that they lack are empty."""
    table = RunTable()
    names = dict.fromkeys(str(row["study"]) for row in rows)
    studies = [
        StudyMembers(
            number, name, "", np.array([row["run_id"] for row in rows if row["study"] == name])
        )
        for number, name in enumerate(names)
    ]
    cells = [(row["run_id"], *_cells(row)) for row in rows]
    table.apply(as_changes(cells, 1, studies=studies))
    return table


def _cells(row: Mapping[str, Any]) -> list[Any]:
    cells = []
    for name, (kind, _) in COLUMNS.items():
        value = row.get(name)
        if name == "deleted":
            value = value or 0
        if kind == "integer":
            value = MISSING if value is None else value
        elif kind == "json":
            value = None if value is None else json.dumps(value)
        cells.append(value)
    return cells
