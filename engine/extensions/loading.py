"""Loads the code of a method: only that of a provider in use, and only as it was trusted."""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine import catalog
from engine.catalog import Origin, Params
from engine.errors import CrumpleError, SpecError
from engine.extensions.methods import KINDS, Method, section_of
from engine.extensions.providers import Provider, packages, read_source
from engine.specs.choices import Choice, spec_error

_providers: dict[tuple[str, str], Provider] = {}
"""Who brings what, by section and id; only what is in the catalogue."""


def use(providers: dict[tuple[str, str], Provider]) -> None:
    """Load methods from these from now on."""
    _providers.clear()
    _providers.update(providers)


def implementation(section: str, choice: Choice) -> Method:
    """What carries out a step or an attack from outside.

    Raises:
        SpecError: it is not here, it is another than the choice means, or it cannot be loaded.
    """
    entry = catalog.section(section).get(choice.name)
    here = entry.origin if entry else None
    if here is None or here != choice.origin:
        raise _another(section, choice.name, choice.origin, here)
    return of_provider(section, choice.name)


def of_provider(section: str, id_: str) -> Method:
    """The method of this id, of whoever brings it."""
    provider = provider_of(section, id_)
    for method in load(provider):
        if section_of(method) == section and method.entry.id == id_:
            return method
    raise SpecError(f"{provider.origin.label} has no {section[:-1]} {id_!r} any more.")


def provider_of(section: str, id_: str) -> Provider:
    """Who brings a method of the catalogue."""
    return _providers[section, id_]


def validated(method: Method, choice: Choice, section: str) -> Params:
    """The parameters of a choice as its own parameter model has them.

    Raises:
        SpecError: that refuses them.
    """
    params = method.entry.params
    try:
        return params.model_validate(choice.params)
    except ValidationError as error:
        where = f"{section[:-1]} {choice.name!r}"
        raise spec_error(error, where, tuple(params.model_fields)) from None


def _another(section: str, name: str, meant: Origin | None, here: Origin | None) -> SpecError:
    what = f"The {section[:-1]} {name!r}"
    if meant is None:
        return SpecError(f"{what} is not built in.", "Start the study again: it gets new runs.")
    if here is None:
        return SpecError(
            f"{what} of {meant.label} is not here.",
            "Add its file with crumple methods add, or install its package.",
        )
    return SpecError(
        f"{what} is that of {here.label} now, not of {meant.label}.",
        "Start the study again: it gets new runs.",
    )


@lru_cache(maxsize=64)
def load(provider: Provider) -> tuple[Method, ...]:
    """Run the code of a provider and take its methods.

    Raises:
        SpecError: it is not what was trusted, it fails, or what it gives is no method.
    """
    try:
        found = _of_file(provider) if provider.file else _of_package(provider)
    except CrumpleError:
        raise
    except (Exception, SystemExit) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        raise SpecError(
            f"{provider.origin.name} cannot be loaded: {type(error).__name__}: {reason}.",
            "Mend it; everything else works without it.",
        ) from error
    return found


def _of_file(provider: Provider) -> tuple[Method, ...]:
    path = Path(provider.file)
    content = read_source(path)
    if hashlib.sha256(content).hexdigest() != provider.origin.sha256:
        raise SpecError(
            f"{path.name} has changed since it was trusted.", "Trust it: crumple methods add."
        )
    module = types.ModuleType(f"crumple_method_{provider.origin.sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and type hints look there
    # The very bytes that were compared, whatever stands in the file by now.
    exec(compile(content, str(path), "exec"), module.__dict__)
    methods = getattr(module, "METHODS", None)
    if not isinstance(methods, list | tuple) or not methods:
        raise SpecError(
            f"{path.name} has no list METHODS.",
            "Write METHODS = [AttackMethod(...)], or CompressionMethod, or DatasetMethod.",
        )
    return tuple(_method(one, path.name) for one in methods)


def _of_package(provider: Provider) -> tuple[Method, ...]:
    if provider not in packages():
        raise SpecError(f"The package {provider.origin.label} is not installed any more.")
    found = []
    for section, point in provider.points:
        module, _, attribute = point.partition(":")
        target: Any = importlib.import_module(module)
        for name in filter(None, attribute.split(".")):
            target = getattr(target, name)
        method = _method(target, f"{provider.origin.name}, {point}")
        if not isinstance(method, KINDS[section]):
            raise SpecError(f"{point} is no {KINDS[section].__name__}.")
        found.append(method)
    return tuple(found)


def _method(found: object, where: str) -> Method:
    if isinstance(found, tuple(KINDS.values())):
        return found  # type: ignore[return-value]
    known = ", ".join(kind.__name__ for kind in KINDS.values())
    raise SpecError(f"{where} gives {type(found).__name__} but must give {known}.")
