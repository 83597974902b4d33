"""``crumple published``: what papers and others who measured have found, with what to doubt."""

from __future__ import annotations

import click

from engine.report.published.rows import published as all_rows
from engine.report.published.tables import PUBLISHED_FORMATS, of_system, published_text


@click.command()
@click.option("--system", metavar="NAME", help="Only this system, for example hydra or rslad.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(PUBLISHED_FORMATS),
    default="table",
    show_default=True,
    help="csv and json hold every column raw; the others are for reading.",
)
def published(system: str | None, format_: str) -> None:
    """Print published figures, one row per network and attack, with what to doubt of them."""
    rows = all_rows()
    shown = rows if system is None else of_system(rows, system)
    click.echo(published_text(shown, rows, format_), nl=False)
