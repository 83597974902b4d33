"""A person trusts a file, or no longer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine import catalog
from engine.catalog.entry import Section
from engine.errors import SpecError
from engine.extensions import child, loading
from engine.extensions.activation import activate, check_free
from engine.extensions.description import Description
from engine.extensions.methods import KINDS
from engine.extensions.providers import Provider, of_file, read_source
from engine.extensions.record import Known, Record, change, read


def add(file: Path, confirm: Callable[[str], bool]) -> tuple[Description, ...]:
    """Trust a file as it is now, and offer its methods.

    Args:
        file: a Python file with a list ``METHODS``.
        confirm: is asked before anything of it runs.

    Raises:
        SpecError: there is no consent, it fails, breaks a rule, or an id is taken.
        StoreError: the record cannot be written.
    """
    path = file.expanduser().absolute()
    provider = of_file(path, read_source(path))
    if not confirm(f"This runs the code in {path} with all your rights, now and in studies."):
        raise unconfirmed(path)
    known = Known(provider=provider, methods=child.ask(provider))
    activate(ask=False)
    for described in known.methods:
        check_free(described, _of_others(str(path)))

    def replace(record: Record) -> Record:
        kept = (one for one in record.files if one.provider.file != str(path))
        return record.model_copy(update={"files": (*kept, known)})

    change(replace)
    activate(ask=False)
    return known.methods


def unconfirmed(path: Path) -> SpecError:
    """Nothing of a file was run."""
    return SpecError(
        f"The code in {path.name} was not run: nobody confirmed it.",
        "Where you trust it, confirm with --trust-code.",
    )


def is_trusted(file: Path) -> bool:
    """Whether a person trusts a file as it is now."""
    path = file.expanduser().absolute()
    return of_file(path, read_source(path)) in [known.provider for known in read().files]


def _of_others(file: str) -> dict[str, Section]:
    """What is offered of outside now, without the methods of a file."""
    return {
        section: {
            id_: entry
            for id_, entry in catalog.section(section).items()
            if entry.origin and loading.provider_of(section, id_).file != file
        }
        for section in KINDS
    }


def trust_network(file: Path, content: bytes) -> None:
    """Remember that a person trusts a file as it is now to make networks.

    Raises:
        StoreError: the record cannot be written.
    """
    provider = _network(file, content)

    def replace(record: Record) -> Record:
        kept = (one for one in record.networks if one.file != provider.file)
        return record.model_copy(update={"networks": (*kept, provider)})

    if not makes_networks(file, content):
        change(replace)


def makes_networks(file: Path, content: bytes) -> bool:
    """Whether a person trusts this content of a file to make networks."""
    record = read()
    return _network(file, content) in [*record.networks, *(one.provider for one in record.files)]


def network_files() -> tuple[str, ...]:
    """The files that are trusted to make networks."""
    return tuple(one.file for one in read().networks)


def _network(file: Path, content: bytes) -> Provider:
    path = file.expanduser().absolute()
    return of_file(path, content)


def remove(name: str) -> str:
    """Trust a file no longer; what it made stays in databases and libraries.

    Args:
        name: its path or file name, or the id of a method that it brings.

    Returns:
        The path.

    Raises:
        SpecError: no such file is trusted, or several are meant.
    """
    record = read()
    path = str(Path(name).expanduser().absolute())
    all_files = {one.provider.file: one.provider.origin.name for one in record.files}
    all_files |= {one.file: one.origin.name for one in record.networks}
    bringing = {
        one.provider.file for one in record.files if name in [method.id for method in one.methods]
    }
    named = {file for file, called in all_files.items() if name == called}
    meant = {path} if path in all_files else named | bringing
    if len(meant) != 1:
        known = ", ".join(all_files) or "none"
        what = "No trusted file is" if not meant else "Several trusted files are"
        raise SpecError(f"{what} called {name!r}.", f"Trusted: {known}.")
    (gone,) = meant
    change(lambda old: _without(old, gone))
    activate(ask=False)
    return gone


def _without(record: Record, file: str) -> Record:
    files = tuple(one for one in record.files if one.provider.file != file)
    networks = tuple(one for one in record.networks if one.file != file)
    return record.model_copy(update={"files": files, "networks": networks})
