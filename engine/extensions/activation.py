"""Which methods from outside are offered now, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine import catalog
from engine.catalog.entry import Section
from engine.errors import CrumpleError, SpecError
from engine.extensions import child, loading
from engine.extensions.description import Description, entry_of
from engine.extensions.providers import Provider, of_file, packages, read_source
from engine.extensions.record import Known, Record, change, read
from engine.host import paths

_UNASKED = "It was not asked yet what it brings; any command of crumple asks."


@dataclass(frozen=True)
class State:
    """A file or a package.

    Attributes:
        name: the path of a file, or the package with its version.
        ids: the methods that are offered.
        problem: why it, or some of it, is left out; empty if all is well.
    """

    name: str
    ids: tuple[str, ...] = ()
    problem: str = ""


@dataclass
class _Offer:
    sections: dict[str, Section] = field(default_factory=dict)
    providers: dict[tuple[str, str], Provider] = field(default_factory=dict)

    def add(self, provider: Provider, described: Description) -> None:
        """Take a method into the offer.

        Raises:
            SpecError: its id is taken, or its description breaks a rule.
        """
        check_free(described, self.sections)
        entry = entry_of(described, provider.origin)
        self.sections.setdefault(described.section, {})[entry.id] = entry
        self.providers[described.section, entry.id] = provider


def activate(*, ask: bool = True) -> tuple[State, ...]:
    """Offer all methods from outside that can be: call it where a process begins, and again.

    What fails is left out, and told.

    Args:
        ask: load packages that were never asked what they bring, in a process of their own.
    """
    states: list[State] = []
    offer = _Offer()
    _seen[0] = _stamp()
    try:
        record = read()
    except CrumpleError as error:
        states.append(State("trusted files", problem=str(error)))
        record = Record()
    for known in record.files:
        states.append(_offered(offer, known, known.provider.file, _change_of(known)))
    for known in _packages(record, ask):
        states.append(_offered(offer, known, known.provider.origin.label, known.problem))
    catalog.use_outside(offer.sections)
    loading.use(offer.providers)
    return tuple(states)


def renew() -> None:
    """Activate again if the record is another since; quick if it is not."""
    if _stamp() != _seen[0]:
        activate(ask=False)


_seen: list[tuple[int, int] | None] = [None]
"""When the record was last written, as of the last activation."""


def _stamp() -> tuple[int, int] | None:
    try:
        found = paths.methods().stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def check_free(described: Description, others: dict[str, Section]) -> None:
    """Refuse an id that another method has.

    Raises:
        SpecError: a built-in method or one from outside has it.
    """
    section, id_ = described.section, described.id
    taken = catalog.built_in(section).get(id_) or others.get(section, {}).get(id_)
    if taken is not None or id_.startswith("torchattacks."):
        whose = taken.origin.label if taken and taken.origin else "Crumple itself"
        raise SpecError(
            f"The {section[:-1]} {id_!r} has the id of one of {whose}.", "Give it another id."
        )


def _offered(offer: _Offer, known: Known, name: str, problem: str) -> State:
    ids, problems = [], [problem] if problem else []
    for described in () if problem else known.methods:
        try:
            offer.add(known.provider, described)
            ids.append(described.id)
        except CrumpleError as error:
            problems.append(str(error))
    return State(name, tuple(ids), " ".join(problems))


def _change_of(known: Known) -> str:
    """Why a file is not what was trusted; empty if it is."""
    try:
        now = of_file(Path(known.provider.file), read_source(Path(known.provider.file)))
    except CrumpleError as error:
        return error.message
    if now == known.provider:
        return ""
    return "It has changed since it was trusted. Trust it again: crumple methods add."


def _packages(record: Record, ask: bool) -> list[Known]:
    asked = {known.provider: known for known in record.packages}
    found: list[Known] = []
    fresh: list[Known] = []
    for provider in packages():
        known = asked.get(provider)
        if known is None and ask:
            known = _asked(provider)
            fresh.append(known)
        found.append(known or Known(provider=provider, problem=_UNASKED))
    if fresh:
        kept = tuple(known for known in found if known.problem != _UNASKED)
        change(lambda old: old.model_copy(update={"packages": kept}))
    return found


def _asked(provider: Provider) -> Known:
    try:
        return Known(provider=provider, methods=child.ask(provider))
    except CrumpleError as error:
        return Known(provider=provider, problem=str(error))
