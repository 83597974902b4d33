"""What commands take that read a database: which one, which study, and how to print it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.errors import StoreError
from engine.host import paths

if TYPE_CHECKING:
    from engine.store import ResultRow, Store

_Command = TypeVar("_Command", bound=Callable[..., Any])

db_option = click.option(
    "--db",
    type=click.Path(path_type=Path),
    default=paths.default_database,
    help="The database; without it, the one in your user data folder.",
)
study_option = click.option("--study", metavar="NAME", help="Only the runs of this study.")


def format_option(formats: Sequence[str]) -> Callable[[_Command], _Command]:
    """``--format`` of a table, given as ``format_``."""
    return click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        default="table",
        show_default=True,
        help="csv and json hold every column raw; the rest is for reading.",
    )


def chosen_rows(store: Store, study: str | None, runs: Sequence[int]) -> list[ResultRow]:
    """The runs of a study, or of all; of them only some by id, if any are named.

    Raises:
        StoreError: there is no such run.
    """
    rows = store.results(study)
    if not runs:
        return rows
    known = {row["run_id"]: row for row in rows}
    missing = [run for run in runs if run not in known]
    if missing:
        where = f"study {study!r}" if study else str(store.path)
        raise StoreError(
            f"There is no run {missing[0]} in {where}.", "See the numbers with: crumple results."
        )
    return [known[run] for run in dict.fromkeys(runs)]
