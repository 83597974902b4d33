"""Tries all rules on the methods of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine import catalog, extensions
from engine.catalog import Entry
from engine.contracts.attacks import AttackRules
from engine.contracts.compressions import CompressionRules
from engine.contracts.datasets import DatasetRules
from engine.contracts.rule import Finding, Rule, tried
from engine.errors import SpecError
from engine.extensions import loading
from engine.extensions.activation import check_free
from engine.extensions.description import describe, entry_of
from engine.extensions.methods import Method, section_of
from engine.extensions.providers import Provider, of_file, read_source

_RULES: dict[str, Callable[[str], AttackRules | CompressionRules | DatasetRules]] = {
    "attacks": AttackRules,
    "compressions": CompressionRules,
    "datasets": DatasetRules,
}


def check_file(file: Path, confirm: Callable[[str], bool]) -> Iterator[Finding]:
    """What comes of each rule, as it is tried.

    Args:
        file: a Python file with a list ``METHODS``; need not be trusted.
        confirm: is asked before anything of it runs.

    Raises:
        SpecError: there is no consent, or the file cannot be loaded.
    """
    path = file.expanduser().absolute()
    provider = of_file(path, read_source(path))
    if not confirm(f"This runs the code in {path} with all your rights."):
        raise extensions.unconfirmed(path)
    for method in loading.load(provider):
        yield from _checked(method, provider)


def _checked(method: Method, provider: Provider) -> Iterator[Finding]:
    section = section_of(method)
    name = f"{section[:-1]} {getattr(method.entry, 'id', '?')}"
    entries: list[Entry] = []

    def described() -> str:
        found = describe(method)
        check_free(found, {})
        entries.append(entry_of(found, provider.origin))
        return ""

    yield from tried(name, [("has an entry that forms can show", described)])
    if not entries:
        return
    (entry,) = entries
    catalog.use_outside({section: {entry.id: entry}})
    loading.use({(section, entry.id): provider})
    try:
        yield from check_method(section, entry.id)
    finally:
        extensions.activate(ask=False)


def check_method(section: str, id_: str) -> Iterator[Finding]:
    """Try the rules on a method of the catalogue, built in or from outside.

    Raises:
        SpecError: there is no such method.
    """
    catalog.find(section, id_)
    name = f"{section[:-1]} {id_}"
    try:
        rules: list[Rule] = list(_RULES[section](id_).rules())
    except SpecError as error:
        yield Finding(name, "takes its defaults", str(error))
        return
    yield from tried(name, rules)
