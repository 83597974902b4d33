"""``crumple data``: which published datasets are there, and how to get them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from engine.catalog import missing_files
from engine.catalog.datasets import FILES
from engine.cli.bars import Bar
from engine.cli.options import Interrupt
from engine.data.download import download
from engine.data.inventory import inventory
from engine.data.source import expanded
from engine.errors import Cancelled
from engine.host import paths
from engine.host.downloads import Progress

_STEP = 2**20
"""Bytes between two lines of progress for programs."""


@click.command()
@click.argument("name", type=click.Choice(list(FILES)), required=False)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds the datasets; without it, the usual one.",
)
@click.option("--download", "wanted", is_flag=True, help="Fetch what is missing.")
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object per line.")
def data(name: str | None, root: Path | None, wanted: bool, as_json: bool) -> None:
    """Show or download published datasets.

    Without NAME, says which are there; with it, checks every file against the published
    checksums.
    """
    folder = expanded(str(root or paths.datasets()))
    if wanted and name is None:
        raise click.UsageError(f"--download needs a NAME: {', '.join(FILES)}.")
    if name is None:
        _show_all(folder, as_json)
        return
    if wanted:
        _fetch(name, folder, as_json)
    _show(name, folder, as_json)


def _show_all(root: Path, as_json: bool) -> None:
    for name in FILES:
        missing = missing_files(name, root)
        if as_json:
            click.echo(json.dumps({"name": name, "root": str(root), "missing": missing}))
        else:
            click.echo(f"{name:<10} {f'{len(missing)} files missing' if missing else 'there'}")
    if not as_json:
        click.echo(f"in {root}", err=True)


def _show(name: str, root: Path, as_json: bool) -> None:
    for file in inventory(name, root):
        if as_json:
            click.echo(json.dumps({"file": file.name, "state": file.state}))
        else:
            click.echo(f"{file.state:<10} {root / file.name}")


def _fetch(name: str, root: Path, as_json: bool) -> None:
    try:
        with Interrupt() as stopped, _Bar() as bar:
            show = _lines() if as_json else bar.show
            download(name, root, show, stopped.requested)
    except Cancelled:
        click.echo("Stopped; start it again and it goes on from here.", err=True)
        sys.exit(1)


class _Bar:
    """A bar on stderr for the file that is coming."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._name = ""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, name: str, done: int, total: int | None) -> None:
        """Draw how far a file is."""
        if self._bar is None or name != self._name:
            self.__exit__()
            self._name = name
            self._bar = Bar(desc=name, total=total, unit="B", unit_scale=True)
        self._bar.update(done - int(self._bar.n))


def _lines() -> Progress:
    """Progress as lines, one for each mebibyte."""
    last: dict[str, int] = {}

    def show(name: str, done: int, total: int | None) -> None:
        if done != total and done - last.get(name, -_STEP) < _STEP:
            return
        last[name] = done
        click.echo(json.dumps({"file": name, "done": done, "total": total}))

    return show
