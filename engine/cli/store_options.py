"""What commands take that read a database: which one, which study, and how to print it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.host import paths

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
