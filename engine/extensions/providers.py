"""Who brings methods: files that a person trusts, and installed packages; nothing runs here."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from engine.catalog import Origin
from engine.errors import SpecError
from engine.extensions.methods import KINDS

GROUP = "crumple."
"""How the groups of entry points begin; a section of the catalogue follows."""


class Provider(BaseModel):
    """A file or a package at one state.

    Attributes:
        origin: its name, version and hash.
        file: the path of a file; empty for a package.
        points: of a package: section of the catalogue and ``module:attribute`` of each method.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    origin: Origin
    file: str = ""
    points: tuple[tuple[str, str], ...] = ()


def read_source(path: Path) -> bytes:
    """A Python file of a person.

    Raises:
        SpecError: there is none, or it cannot be read.
    """
    if path.suffix != ".py" or not path.is_file():
        raise SpecError(f"There is no Python file {path}.", "Name a file that ends in .py.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"The file {path} cannot be read: {error.strerror}.") from None


def of_file(path: Path, content: bytes) -> Provider:
    """A file with this content."""
    sha256 = hashlib.sha256(content).hexdigest()
    return Provider(origin=Origin(name=path.name, sha256=sha256), file=str(path))


def packages() -> tuple[Provider, ...]:
    """Installed packages with entry points of ours, by name; none of them is imported.

    What merely lies in the current folder is not installed, although a notebook looks there.
    """
    points: dict[tuple[str, str], list[tuple[str, str]]] = {}
    installed = importlib.metadata.entry_points()  # reads a file of every installed package
    for section in KINDS:
        for point in installed.select(group=f"{GROUP}{section}"):
            dist = point.dist
            if dist is not None and not _lies_here(dist):
                key = (dist.name, dist.version)
                points.setdefault(key, []).append((section, point.value))
    return tuple(
        Provider(
            origin=Origin(name=name, version=version, sha256=_hash_of(found)),
            points=tuple(sorted(set(found))),
        )
        for (name, version), found in sorted(points.items())
    )


def _lies_here(dist: importlib.metadata.Distribution) -> bool:
    return Path(str(dist.locate_file(""))).resolve() == Path.cwd()


def _hash_of(points: list[tuple[str, str]]) -> str:
    """Of the names and contents of all Python files of the packages that hold the methods."""
    tops = sorted({value.partition(":")[0].partition(".")[0] for _, value in points})
    digest = hashlib.sha256()
    for top in tops:
        for name, file in sorted(_sources(top)):
            digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _sources(top: str) -> Iterator[tuple[str, Path]]:
    spec = importlib.machinery.PathFinder.find_spec(top)  # a name without a dot runs nothing
    if spec is None:
        return
    for folder in spec.submodule_search_locations or ():
        for file in Path(folder).rglob("*.py"):
            yield f"{top}/{file.relative_to(folder).as_posix()}", file
    if not spec.submodule_search_locations and spec.origin and spec.origin.endswith(".py"):
        yield top, Path(spec.origin)
