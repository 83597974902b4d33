"""Python code in a process of its own, with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.helpers.patience import HANG


def printed(code: str, *, without: tuple[str, ...], chosen: Mapping[str, str]) -> list[str]:
    """The words that the code prints.

    Args:
        code: Python.
        without: beginnings of the names that the environment does not have.
        chosen: variables that it has beside the others.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=others | dict(chosen),
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    return done.stdout.split()
