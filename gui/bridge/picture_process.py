"""Commands that write a file in a process of their own: charts, reports, pictures of others.

matplotlib never enters the window, nor does a decoder that works on files of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gui.bridge.engine_process import engine_arguments

_PREVIEWED = {"name": "dataset", "folder": "folder", "root": "root"}
_PREVIEWED |= {"resize": "resize", "crop": "crop"}
"""Options of ``crumple preview`` by their names in a study file."""


def chart_arguments(
    database: Path, kind: str, run_ids: Sequence[int], out: Path, axes: Sequence[str] = ()
) -> list[str]:
    """The command line, after the executable, that draws these runs along these axes."""
    runs = [part for run_id in run_ids for part in ("--run", str(run_id))]
    file = ("--out", str(out))
    return engine_arguments("chart", "--kind", kind, "--db", str(database), *axes, *runs, *file)


def report_arguments(database: Path, study: str, out: Path) -> list[str]:
    """The command line, after the executable, that reports a study."""
    return engine_arguments("report", "--study", study, "--db", str(database), "--out", str(out))


def preview_arguments(table: Mapping[str, Any], out: Path) -> list[str]:
    """The command line, after the executable, that shows pictures of this dataset."""
    given = [(_PREVIEWED[key], str(value)) for key, value in table.items() if key in _PREVIEWED]
    options = [part for name, value in given for part in (f"--{name}", value)]
    return engine_arguments("preview", *options, "--out", str(out))
