"""``crumple preview``: some pictures as a network will see them, in a process that may die."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.options import dataset_of
from engine.errors import DataError
from engine.report.preview import save_preview


@click.command()
@click.option("--folder", metavar="DIR", help="A folder with one directory per class.")
@click.option("--dataset", type=click.Choice(["imagenet"]), help="ImageNet instead.")
@click.option("--root", metavar="DIR", help="The folder that holds ImageNet.")
@click.option("--resize", type=int, metavar="PX", help="The shorter side of pictures.")
@click.option("--crop", type=int, metavar="PX", help="The square cut from their middle.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The PNG to write.")
def preview(
    folder: str | None,
    dataset: str | None,
    root: str | None,
    resize: int | None,
    crop: int | None,
    out: Path,
) -> None:
    """Show some pictures as a network will see them."""
    spec = dataset_of(dataset, root, folder, None, None, None, resize, crop)
    if spec is None:
        raise DataError("There is nothing to show.", "Name a --folder.")
    save_preview(spec, out)
    click.echo(f"Wrote {out}.", err=True)
