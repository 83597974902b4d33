"""``crumple methods``: which files of your own bring attacks, compressions and datasets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from engine import extensions


@click.group()
def methods() -> None:
    """Trust Python files that bring attacks, compressions and datasets, or list them."""


@methods.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust-code", is_flag=True, help="Run the code of FILE, now and in studies.")
def add(file: Path, trust_code: bool) -> None:
    """Trust FILE as it is now and offer its methods.

    Nothing of it runs without --trust-code. Once the file is changed it must be trusted again.
    """
    for one in extensions.add(file, lambda _: trust_code):
        click.echo(f"{one.section[:-1]} {one.id}: {one.entry['summary']}")


@methods.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(as_json: bool) -> None:
    """Show trusted files and installed packages, and why one is left out.

    Files that were trusted to import a network from are shown, too; they run in no study.
    """
    states = extensions.activate()
    if as_json:
        click.echo(json.dumps([asdict(state) for state in states], indent=2))
        return
    networks = extensions.network_files()
    for state in states:
        click.echo(f"{state.name}: {', '.join(state.ids) or 'nothing'}")
        if state.problem:
            click.echo(f"    left out: {state.problem}")
    for file in networks:
        click.echo(f"{file}: a network of yours")
    if not states and not networks:
        click.echo("No file is trusted, and no installed package brings methods.", err=True)


@methods.command()
@click.argument("name")
def remove(name: str) -> None:
    """Trust a file no longer: NAME is its path, its file name or the id of a method."""
    click.echo(f"{extensions.remove(name)} is trusted no longer; its results stay.", err=True)


def activate_aloud() -> None:
    """Offer methods from outside, and tell of those that are left out."""
    for state in extensions.activate():
        if state.problem:
            click.echo(f"Left out: {state.name}: {state.problem}", err=True)
