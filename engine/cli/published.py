"""``crumple published``: what papers and others who measured have found, with what to doubt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from engine import catalog
from engine.host import paths
from engine.report.published.join import Pair, joined
from engine.report.published.rows import PublishedRow
from engine.report.published.rows import published as all_rows
from engine.report.published.tables import (
    PUBLISHED_FORMATS,
    joined_text,
    of_system,
    published_text,
)
from engine.store import Store
from engine.store.artifacts import models_of


@click.command()
@click.option("--system", metavar="NAME", help="Only this system, for example hydra or rslad.")
@click.option("--study", metavar="NAME", help="Beside the runs of this study.")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    help="Of --study: the database; without it, the one in your user data folder.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(PUBLISHED_FORMATS),
    default="table",
    show_default=True,
    help="csv and json hold every column raw; the others are for reading.",
)
def published(system: str | None, study: str | None, db: Path | None, format_: str) -> None:
    """Print published figures, one row per network and attack, with what to doubt of them.

    With --study, those of the same system, network, rate and kind of attack as a run, beside it.
    """
    rows = all_rows()
    shown = rows if system is None else of_system(rows, system)
    if study is None:
        if db is not None:
            raise click.UsageError("--db needs --study: published figures are in no database.")
        click.echo(published_text(shown, rows, format_), nl=False)
        return
    pairs = _beside(shown, study, db or paths.default_database())
    if not pairs:
        click.echo(
            f"No run of {study!r} is of the same system, network, rate and kind of attack as a "
            "published figure.",
            err=True,
        )
    click.echo(joined_text(pairs, rows, format_), nl=False)


def _beside(rows: Sequence[PublishedRow], study: str, db: Path) -> list[Pair]:
    catalog.use_library(models_of(db))
    with Store(db, readonly=True) as store:
        runs = store.with_specs(store.results(study))
    return joined(rows, runs, catalog.models.cards.cards())
