"""What a command says on standard error while it works: sentences for people, or JSON lines.

The window starts its child processes with the hidden option ``--lines`` before the command. Each
line of standard error that is a JSON object is then meant for it; what libraries print there
stands between them.

``{"doing": "Downloading the weights", "share": 0.45, "done": 45000000, "total": 100000000}``
    What is being done; ``share`` in [0,1] only where it is known, the bytes only of files.
``{"error": "...", "hint": "...", "field": "density", "table": [["...", "..."], ...]}``
    Why nothing came of it, the next step, the option that is to blame, and what it is about in
    rows, the headings first; each of the last three may be empty.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import click

from engine.errors import CrumpleError

_OPTION = "lines"
_MOST_ROWS = 40

lines_option = click.option(
    "--lines", _OPTION, is_flag=True, hidden=True, help="Progress and errors as JSON lines."
)


def in_lines() -> bool:
    """Whether the command that runs was asked for JSON lines."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get(_OPTION))


def say(doing: str) -> None:
    """Tell what is being done."""
    click.echo(json.dumps({"doing": doing}) if in_lines() else doing, err=True)


def say_error(error: CrumpleError) -> None:
    """Tell why nothing came of it."""
    told = {"error": error.message, "hint": error.hint, "field": error.field, "table": error.table}
    click.echo(json.dumps(told) if in_lines() else sentence_of(error), err=True)


def sentence_of(error: CrumpleError) -> str:
    """An error for the terminal: a sentence, the next step, and its rows below."""
    if not error.table:
        return str(error)
    from tabulate import tabulate

    head, *rows = error.table
    more = [(f"... and {len(rows) - _MOST_ROWS} more",)] if len(rows) > _MOST_ROWS else []
    shown = tabulate([*rows[:_MOST_ROWS], *more], head, "simple", disable_numparse=True)
    return f"{error}\n\n{shown}"


@contextlib.contextmanager
def progress_bars(doing: str) -> Iterator[None]:
    """Meanwhile the bars of libraries, whoever makes them, say how far they are in lines."""
    if not in_lines():
        yield
        return

    from tqdm import tqdm

    def tell(bar: tqdm[object], *_args: object, **_options: object) -> bool:
        line: dict[str, object] = {"doing": doing}
        if bar.total:
            line["share"] = round(min(bar.n / bar.total, 1.0), 3)
        if bar.unit == "B":
            line |= {"done": int(bar.n), "total": bar.total}
        if len(line) > 1:
            click.echo(json.dumps(line), err=True)
        return True

    drawn = tqdm.display
    tqdm.display = tell  # also of the bars that inherit it
    try:
        yield
    finally:
        tqdm.display = drawn
