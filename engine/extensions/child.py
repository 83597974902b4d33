"""Asks a provider what it brings, in a process of its own: its code may load torch, or crash."""

from __future__ import annotations

from pydantic import BaseModel

from engine.errors import CrumpleError, SpecError
from engine.extensions.description import Description, describe
from engine.extensions.loading import load
from engine.extensions.providers import Provider
from engine.host import child

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
    name = provider.origin.name
    try:
        answer = child.ask(__name__, provider, _Answer, _PATIENCE)
    except child.TooSlow:
        raise SpecError(f"{name} did not load in {_PATIENCE} seconds.") from None
    except child.NoAnswer as ended:
        raise SpecError(f"{name} ended its process while it loaded: {ended.said}.") from None
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


if __name__ == "__main__":
    child.serve(Provider, _answer)
