"""``crumple check``: is a database whole, and if not, what can be mended?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine import catalog
from engine.cli.store_options import db_option
from engine.store import Store, Writer, checkup
from engine.store.artifacts import models_of
from engine.store.faults import Fault
from engine.store.spec_check import earlier


@click.command()
@db_option
@click.option("--repair", is_flag=True, help="Mend what can be mended, after making a copy.")
def check(db: Path, repair: bool) -> None:
    """Look a database over: rows, files, checksums. Exit 0 only if nothing is wrong."""
    catalog.use_library(models_of(db))
    if not repair:
        with Store(db, readonly=True) as store:
            faults = checkup.check(store)
            _tell(store, faults)
            _tell_of_earlier(store)
        if any(fault.mend for fault in faults):
            click.echo("crumple check --repair would do this, after making a copy.", err=True)
        sys.exit(1 if faults else 0)
    with Writer(db) as store:
        faults = checkup.check(store)
        _tell(store, faults)
        copy = checkup.repair(store)
        if copy is not None:
            click.echo(f"Mended. The database as it was is {copy}.", err=True)
        left = checkup.check(store)
    sys.exit(1 if left else 0)


def _tell_of_earlier(store: Store) -> None:
    count = earlier(store.db)
    if count:
        click.echo(
            f"{count} runs were made by an earlier version of Crumple: their keys are not "
            "checked, and a study that has them computes them anew.",
            err=True,
        )


def _tell(store: Store, faults: list[Fault]) -> None:
    for fault in faults:
        click.echo(f"{fault.text} {fault.cure}".rstrip())
    if not faults:
        click.echo(f"Nothing is wrong with the {len(store.results())} runs in {store.path}.")
