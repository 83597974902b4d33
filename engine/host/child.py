"""A module of the program as a process of its own, asked once: JSON goes in, JSON comes out.

For what may crash, hang or take all memory: code of others, and libraries of C++ on their files.
The module ends in ``serve``; whoever wants its answer calls ``ask``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Question = TypeVar("Question", bound=BaseModel)
Answer = TypeVar("Answer", bound=BaseModel)

_MOST_SAID = 200
"""Characters of what a process said last."""


class NoAnswer(Exception):
    """A process ended without an answer.

    Attributes:
        said: the last line that it wrote to standard error, or its exit status.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class TooSlow(Exception):
    """A process had no answer in time, and was ended."""


def ask(module: str, question: BaseModel, answer: type[Answer], patience: float) -> Answer:
    """Run a module, which imports from where this process does, and wait for its answer.

    Args:
        module: its full name.
        question: what it is asked.
        answer: the form of what it says.
        patience: seconds.

    Raises:
        NoAnswer: it ended without one.
        TooSlow: it took longer.
    """
    known = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=question.model_dump_json(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": known},
            timeout=patience,
            check=False,
        )
        return answer.model_validate_json(done.stdout.rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        raise TooSlow from None
    except ValidationError:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NoAnswer(said[:_MOST_SAID].rstrip(".")) from None


def serve(question: type[Question], reply: Callable[[Question], BaseModel]) -> None:
    """Answer the question on standard input; what ``reply`` prints goes to standard error.

    The process ends once the one that asked is gone, as after a cancelled import.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.redirect_stdout(sys.stderr):
        found = reply(question.model_validate_json(sys.stdin.read()))
    sys.stdout.write("\n" + found.model_dump_json())


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
