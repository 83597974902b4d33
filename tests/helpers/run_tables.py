"""Tables of runs without a database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.store.run_changes import COLUMNS, StudyMembers, as_changes
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
    told = {name: [_cell(row, name) for row in rows] for name in ("run_id", *COLUMNS)}
    table.apply(as_changes([told], 1, studies=studies))
    return table


def _cell(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    if name == "deleted":
        return value or 0
    return json.dumps(value) if name in ("recipe", "flags") and value is not None else value
