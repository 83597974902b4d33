"""The command line. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine import __version__, catalog, extensions
from engine.catalog import SECTIONS
from engine.cli.lines import in_lines, lines_option, say_error, sentence_of
from engine.cli.store_options import chosen_rows, db_option, format_option, study_option
from engine.errors import CrumpleError
from engine.report.figures import KINDS
from engine.report.series import X_AXES, Y_AXES, Axis
from engine.report.tables import RESULT_FORMATS, SAMPLE_FORMATS
from engine.report.transfer import TRANSFER_FORMATS
from engine.store.artifacts import models_of

if TYPE_CHECKING:
    from engine.store import Store

_LAZY = {
    "check": ("engine.cli.check:check", "Look a database over; mend what can be mended."),
    "run": ("engine.cli.run:run", "Run the study in STUDY.toml."),
    "data": ("engine.cli.data:data", "Show or download published datasets."),
    "preview": ("engine.cli.preview:preview", "Show some pictures as a network will see them."),
    "compare": ("engine.cli.compare:compare", "Test variants against each other, image by image."),
    "published": ("engine.cli.published:published", "Print published figures and their doubts."),
    "train": ("engine.cli.train:train", "Train a base model into the library."),
    "methods": ("engine.cli.methods:methods", "Trust files that bring methods of your own."),
    "check-method": ("engine.cli.checking:check_method", "Try the rules on methods of your own."),
    "report": ("engine.cli.report:report", "Write a study into a folder that one can hand over."),
    "sample-size": (
        "engine.cli.sample_size:sample_size",
        "Say how many images tell two robust accuracies apart.",
    ),
    "import": ("engine.cli.importing:import_", "Examine a checkpoint and put it into the library."),
}
"""Commands whose module, and torch with it, is imported only when they are asked for."""

_WINDOW = "gui.__main__"
"""Imported by name: the engine knows no window, it only opens one when told to."""


class _Mendable(click.ClickException):
    """What a CrumpleError becomes on the command line."""

    exit_code = 2


class _Commands(click.Group):
    """Finds lazy commands; an error that the user can mend is one sentence and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LAZY:
            return super().get_command(ctx, cmd_name)
        module, attribute = _LAZY[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self._summary(ctx, name)) for name in self.list_commands(ctx)]
            )

    def _summary(self, ctx: click.Context, name: str) -> str:
        command = None if name in _LAZY else self.get_command(ctx, name)
        return command.get_short_help_str(limit=80) if command else _LAZY[name][1]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrumpleError as error:
            if in_lines():
                say_error(error)
                ctx.exit(_Mendable.exit_code)
            raise _Mendable(sentence_of(error)) from None
        except click.ClickException as error:
            if not in_lines():
                raise
            say_error(CrumpleError(error.format_message()))
            ctx.exit(error.exit_code)


@click.group(cls=_Commands, invoke_without_command=True)
@click.version_option(__version__, prog_name="crumple")
@lines_option
@click.pass_context
def main(ctx: click.Context, lines: bool) -> None:
    """What does compression do to the adversarial robustness of an image classifier?

    Without a command, opens the window.
    """
    extensions.activate(ask=False)
    if ctx.invoked_subcommand is None:
        ctx.invoke(gui)


@main.command("list")
@click.argument("section", type=click.Choice(SECTIONS))
@click.option("--json", "as_json", is_flag=True, help="For programs: every parameter in full.")
@click.option("--published", is_flag=True, help="Of models: the weights that can be downloaded.")
@db_option
def list_(section: str, as_json: bool, published: bool, db: Path) -> None:
    """Show what exists, with parameters and defaults."""
    from engine.cli.methods import activate_aloud
    from engine.report import listing

    catalog.use_library(models_of(db))
    if published:
        if section != "models":
            raise click.UsageError("--published goes with models alone.")
        click.echo(listing.published_json() if as_json else listing.published_text(), nl=False)
        return
    activate_aloud()
    text = listing.section_json(section) if as_json else listing.section_text(section)
    click.echo(text, nl=False)


@main.command()
@db_option
@study_option
@format_option(RESULT_FORMATS)
@click.option(
    "--over-seeds",
    is_flag=True,
    help="One row per variant and attack of what was repeated: mean, spread, and what causes it.",
)
def results(db: Path, study: str | None, format_: str, over_seeds: bool) -> None:
    """Print one row per run."""
    from engine.report.tables import csv_of_columns, result_pieces
    from engine.store import Store
    from engine.store.result_rows import result_rows

    catalog.use_library(models_of(db))
    # In a terminal the ids are shorter, and what study files and filters take.
    titles = None if format_ == "table" else catalog.models.cards.titles()
    with Store(db, readonly=True) as store:
        if over_seeds:
            _print_repeats(store, study, format_, titles or {})
            return
        parts = store.result_columns(study)
        first = list(itertools.islice(parts, 1))
        if not first:
            click.echo(f"No runs are stored in {db}.", err=True)
        parts = itertools.chain(first, parts)
        if format_ == "csv":
            pieces = csv_of_columns(parts, titles)
        else:
            rows = itertools.chain.from_iterable(map(result_rows, parts))
            pieces = result_pieces(rows, format_, titles)
        for piece in pieces:
            click.echo(piece, nl=False)


def _print_repeats(
    store: Store, study: str | None, format_: str, titles: Mapping[str, str]
) -> None:
    from engine.report.naming import titled
    from engine.report.repeats import repeats_of, repeats_text

    found = repeats_of(titled(store.with_specs(store.results(study)), titles))
    if not found:
        click.echo(
            "Nothing here was repeated: a study repeats with seeds = [0, 1, 2] in its file.",
            err=True,
        )
    click.echo(repeats_text(found, format_), nl=False)


@main.command()
@click.argument("run", type=int)
@db_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(SAMPLE_FORMATS),
    required=True,
    help="npz also holds the stored images.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file instead of standard output.",
)
def samples(run: int, db: Path, format_: str, out: Path | None) -> None:
    """Export one row per image of the run with the number RUN."""
    from engine.report.tables import samples_bytes
    from engine.store import Store

    if out is None and format_ == "npz" and sys.stdout.isatty():
        raise click.UsageError("npz is no text; name a file with --out.")
    with Store(db, readonly=True) as store:
        store.result(run)  # An unknown run is an error, not an empty table.
        rows = store.samples(run)
        images = store.images(run) if format_ == "npz" else {}
    if not rows:
        click.echo(f"Run {run} has no samples yet.", err=True)
    data = samples_bytes(rows, images, format_)
    if out is None:
        click.echo(data, nl=False)
    else:
        _write(out, data)


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CrumpleError(
            f"The file {path} cannot be written: {error.strerror}.",
            "Choose a folder that exists and that you can write to.",
        ) from None


@main.command()
@db_option
@study_option
@format_option(TRANSFER_FORMATS)
def transfer(db: Path, study: str | None, format_: str) -> None:
    """Print how the examples of each run fare on the other variants: one row per pair."""
    from engine.report.transfer import transfers_text
    from engine.store import Store

    with Store(db, readonly=True) as store:
        rows = store.transfers(study)
    if not rows:
        click.echo(
            "No pairs are stored: they come with a study of two variants or more that keeps "
            "images, after its last run.",
            err=True,
        )
    click.echo(transfers_text(rows, format_), nl=False)


@main.command()
@db_option
def recheck(db: Path) -> None:
    """Find runs that were measured on images which another model had changed."""
    from engine.pipeline.recheck import recheck as look
    from engine.store import Writer

    catalog.use_library(models_of(db))
    store = Writer(db)
    try:
        marked = look(store, lambda line: click.echo(line, err=True))
    finally:
        store.close()
    click.echo(f"{marked} runs marked.")


@main.command()
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What to draw.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The picture; its ending .svg, .pdf or .png decides the format.",
)
@db_option
@study_option
@click.option("--run", "runs", type=int, multiple=True, metavar="ID", help="Only these runs.")
@click.option(
    "--x", type=click.Choice([one.id for one in X_AXES]), help="Of pareto: the axis to the right."
)
@click.option(
    "--y", type=click.Choice([one.id for one in Y_AXES]), help="Of pareto: the axis upwards."
)
def chart(
    kind: str,
    out: Path,
    db: Path,
    study: str | None,
    runs: tuple[int, ...],
    x: str | None,
    y: str | None,
) -> None:
    """Draw a chart for a paper column."""
    from engine.report.figures import chart_details, check_suffix, draw_chart, save_chart
    from engine.store import Store

    check_suffix(out)
    with Store(db, readonly=True) as store:
        rows = store.with_specs(chosen_rows(store, study, runs))
        details = chart_details(kind, rows, store)
    axes = _axis(X_AXES, x), _axis(Y_AXES, y)
    catalog.use_library(models_of(db))
    titles = catalog.models.cards.titles()
    save_chart(draw_chart(kind, rows, details, axes, titles), out)
    click.echo(f"Wrote {out}.", err=True)


def _axis(known: tuple[Axis, ...], name: str | None) -> Axis:
    return next((one for one in known if one.id == name), known[0])


@main.command()
@db_option
@click.option("--page", metavar="NAME", help="The page to open.")
@click.option(
    "--study",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A study file to load, ready to start.",
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda:0 ...; this time only.")
@click.option(
    "--screenshot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a PNG of the page and exit.",
)
@click.pass_context
def gui(
    ctx: click.Context,
    db: Path,
    page: str | None,
    study: Path | None,
    device: str | None,
    screenshot: Path | None,
) -> None:
    """Open the window."""
    options = {
        "--db": db,
        "--page": page,
        "--study": study,
        "--device": device,
        "--screenshot": screenshot,
    }
    given = [part for name, value in options.items() if value for part in (name, str(value))]
    window: Any = importlib.import_module(_WINDOW)
    ctx.exit(window.main(given))
