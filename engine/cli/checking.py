"""``crumple check-method``: what every method keeps to, tried on one of your own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine import extensions
from engine.contracts import check_file
from engine.host import device as devices


@click.command("check-method")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--trust-code", is_flag=True, help="Run the code of FILE, this once.")
def check_method(file: Path, trust_code: bool) -> None:
    """Try on the methods of FILE what every method keeps to. Exit 0 only if they keep to it all.

    A file that is trusted as it is needs no --trust-code.
    """
    devices.prepare_host()
    method, broken = "", 0
    for finding in check_file(file, lambda _: trust_code or extensions.is_trusted(file)):
        if finding.method != method:
            method = finding.method
            click.echo(method)
        said = f": {finding.reason}" if finding.reason else ""
        click.echo(f"  {'pass' if finding.kept else 'FAIL'}  {finding.rule}{said}")
        broken += not finding.kept
    sys.exit(1 if broken else 0)
