"""Asks a provider what it brings, in a process of its own: its code may load torch, or crash."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from pydantic import BaseModel, ValidationError

from engine.errors import CrumpleError, SpecError
from engine.extensions.description import Description, describe
from engine.extensions.loading import load
from engine.extensions.providers import Provider

_PATIENCE = 300
"""Seconds to answer; loading torch on a busy machine takes a minute."""


class _Answer(BaseModel):
    methods: tuple[Description, ...] = ()
    message: str = ""
    hint: str = ""


def ask(provider: Provider) -> tuple[Description, ...]:
    """What a provider brings. This runs its code.

    Raises:
        SpecError: it fails, breaks a rule, or its process ends without an answer.
    """
    known = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=provider.model_dump_json(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONPATH": known},
            timeout=_PATIENCE,
            check=False,
        )
        answer = _Answer.model_validate_json(done.stdout.rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        raise SpecError(f"{provider.origin.name} did not load in {_PATIENCE} seconds.") from None
    except ValidationError:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise SpecError(
            f"{provider.origin.name} ended its process while it loaded: {said}"
        ) from None
    if answer.message:
        raise SpecError(answer.message, answer.hint)
    return answer.methods


def _answer(provider: Provider) -> _Answer:
    try:
        methods = tuple(describe(method) for method in load(provider))
    except CrumpleError as error:
        return _Answer(message=error.message, hint=error.hint)
    ids = [(one.section, one.id) for one in methods]
    for section, id_ in ids:
        if ids.count((section, id_)) > 1:
            return _Answer(message=f"{provider.origin.name} has two {section} named {id_!r}.")
    return _Answer(methods=methods)


def _main() -> None:
    with contextlib.redirect_stdout(sys.stderr):  # the code may print
        answer = _answer(Provider.model_validate_json(sys.stdin.read()))
    sys.stdout.write("\n" + answer.model_dump_json())


if __name__ == "__main__":
    _main()
