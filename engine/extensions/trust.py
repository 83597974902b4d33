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
from engine.extensions.providers import of_file, read_source
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


def remove(name: str) -> str:
    """Trust a file no longer; what it made stays in databases.

    Args:
        name: its path or file name, or the id of a method that it brings.

    Returns:
        The path.

    Raises:
        SpecError: no such file is trusted, or several are meant.
    """
    record = read()
    path = str(Path(name).expanduser().absolute())
    meant = [one for one in record.files if one.provider.file == path] or [
        one
        for one in record.files
        if name == one.provider.origin.name or name in [method.id for method in one.methods]
    ]
    if len(meant) != 1:
        known = ", ".join(one.provider.file for one in record.files) or "none"
        what = "No trusted file is" if not meant else "Several trusted files are"
        raise SpecError(f"{what} called {name!r}.", f"Trusted: {known}.")
    (gone,) = meant
    files = tuple(one for one in record.files if one != gone)
    change(lambda old: Record(files=files, packages=old.packages))
    activate(ask=False)
    return gone.provider.file
