"""``crumple report``: a study as a folder or file that one can hand over."""

from __future__ import annotations

from pathlib import Path

import click

from engine import catalog
from engine.cli.lines import say
from engine.cli.store_options import db_option
from engine.report.handout.write import write_report
from engine.store import Store
from engine.store.artifacts import models_of


@click.command()
@click.option("--study", metavar="NAME", required=True, help="The study to report.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A new folder, or a file that ends in .zip.",
)
@db_option
def report(study: str, out: Path, db: Path) -> None:
    """Write everything of a study into a folder: a page, tables, figures, samples and keys.

    The page, index.html, opens without a network. It says in words what can and what cannot be
    concluded, each sentence with the runs that it rests on.
    """
    catalog.use_library(models_of(db))
    with Store(db, readonly=True) as store:
        made = write_report(store, study, out, catalog.models.cards.titles(), say)
    click.echo(f"Wrote {made}.", err=True)
