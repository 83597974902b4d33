"""``crumple published``: what papers and others who measured have found, with what to doubt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from engine import catalog
from engine.cli.store_options import db_option, format_option
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
@db_option
@format_option(PUBLISHED_FORMATS)
@click.pass_context
def published(
    ctx: click.Context, system: str | None, study: str | None, db: Path, format_: str
) -> None:
    """Print published figures, one row per network and attack, with what to doubt of them.

    With --study, those of the same system, network, rate and kind of attack as a run, beside it.
    """
    rows = all_rows()
    shown = rows if system is None else of_system(rows, system)
    if study is None:
        if ctx.get_parameter_source("db") is not ParameterSource.DEFAULT:
            raise click.UsageError("--db needs --study: published figures are in no database.")
        click.echo(published_text(shown, rows, format_), nl=False)
        return
    pairs = _beside(shown, study, db)
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
