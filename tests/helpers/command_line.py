"""Calling ``crumple`` in this process, as a user calls it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from engine.cli.main import main


def crumple(*arguments: str | Path) -> Result:
    """What comes of a call; an exception that is no exit is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_refused(result: Result, *words: str) -> None:
    """One sentence on standard error, exit code 2, nothing on standard output."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words), result.stderr
