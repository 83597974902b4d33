"""Commands and their options, as click knows them."""

from __future__ import annotations

from collections.abc import Iterator

import click

from docs.tools.tables import table
from engine.cli.main import main as commands


def command(name: str) -> Iterator[str]:
    """How a command is called, and its options; of a group, each of its commands."""
    context = click.Context(commands, info_name="crumple")
    found = commands.get_command(context, name)
    assert found is not None, f"there is no command {name}"
    yield from _described(found, name, context)


def _described(found: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(found, info_name=name, parent=parent)
    if isinstance(found, click.Group):
        yield _sentence(found.help or "")
        for inner in found.list_commands(context):
            part = found.get_command(context, inner)
            assert part is not None
            yield from ["", *_described(part, inner, context)]
        return
    pieces = " ".join(found.collect_usage_pieces(context))
    called = f"{context.command_path} {pieces}"
    yield from ["```text", called, "```", "", _sentence(found.help or "")]
    options = [one for one in found.params if isinstance(one, click.Option)]
    if options:
        rows = [_option(one, context) for one in options]
        yield from ["", *table(("option", "default", "meaning"), rows)]


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    choices = option.type.choices if isinstance(option.type, click.Choice) else ()
    value = "" if option.is_flag or choices else f" {option.make_metavar(context)}"
    default = option.get_default(context, call=False)
    told = isinstance(default, str | int) and not isinstance(default, bool)
    shown = f"`{default}`" if told else ""
    if option.required:
        shown = "required"
    words = option.help or ""
    if choices:  # beside each other they would be wider than a page
        start = "One of" if len(choices) > 1 else "Only"
        words += f" {start} {', '.join(f'`{choice}`' for choice in choices)}."
    return f"`{', '.join(option.opts)}{value}`", shown, words


def _sentence(text: str) -> str:
    return " ".join(text.split())
