"""What a Python file of a person declares, found without running it; torch-free."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import ModelError

_LARGEST = 4_000_000
_MODULES = ("Module", "Sequential")
"""Ends of names of classes that a network derives from: ``nn.Module``, ``LightningModule``."""

_FACTORY = "make"


@dataclass(frozen=True)
class Declared:
    """A class of networks, or a function.

    Attributes:
        name: as it stands in the file.
        kind: what it is.
        takes: its parameters as Python writes them, for example ``depth, width=16``.
        needs: those that have to be given.
        used: whether another class of the file names it, as a network does its parts.
    """

    name: str
    kind: Literal["class", "function"]
    takes: str
    needs: tuple[str, ...]
    used: bool


def declared(path: Path) -> tuple[Declared, ...]:
    """The classes of networks and the functions of a file, in its order.

    Raises:
        ModelError: it cannot be read, or is not Python.
    """
    tree = parsed(path.name, read_code(path))
    classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
    found = [
        one
        for one in tree.body
        if isinstance(one, ast.FunctionDef) or (isinstance(one, ast.ClassDef) and _is(one, classes))
    ]
    return tuple(
        Declared(
            one.name,
            "class" if isinstance(one, ast.ClassDef) else "function",
            *_parameters(one, classes),
            used=any(one.name in _names(each) for each in classes.values() if each is not one),
        )
        for one in found
        if not one.name.startswith("_")
    )


def likely(found: tuple[Declared, ...], alone: bool) -> str:
    """The one that is meant, as far as a file tells; empty if it does not.

    Args:
        found: what the file declares.
        alone: whether it has to bring the weights too.
    """
    if alone and any(one.name == _FACTORY for one in found):
        return _FACTORY
    found = tuple(one for one in found if one.name != _FACTORY)
    classes = [one.name for one in found if one.kind == "class"]
    whole = [one.name for one in found if one.kind == "class" and not one.used]
    for names in (whole, classes, [one.name for one in found]):
        if len(names) == 1:
            return names[0]
    return ""


def read_code(path: Path) -> bytes:
    """A Python file.

    Raises:
        ModelError: it is not there, cannot be read, or is too large for one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"The Python file {path} cannot be read: {reason}.",
            "Write it as file.py:Name.",
            field="class",
        ) from None
    if len(content) > _LARGEST:
        raise ModelError(f"{path.name} is larger than {_LARGEST:,} bytes.", field="class")
    return content


def parsed(name: str, content: bytes) -> ast.Module:
    """The syntax of a file; nothing of it runs.

    Raises:
        ModelError: it is not Python.
    """
    try:
        return ast.parse(content, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise ModelError(f"{name} is not Python{line}: {reason}.", field="class") from None


def _is(one: ast.ClassDef, classes: dict[str, ast.ClassDef], depth: int = 0) -> bool:
    """Whether a class derives from something named Module, by way of others of the file too."""
    return any(
        name.endswith(_MODULES)
        or (name in classes and depth < len(classes) and _is(classes[name], classes, depth + 1))
        for name in map(_last_name, one.bases)
    )


def _last_name(base: ast.expr) -> str:
    if isinstance(base, ast.Subscript):
        base = base.value
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else ""


def _names(one: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(one) if isinstance(node, ast.Name)}


def _parameters(
    one: ast.stmt, classes: dict[str, ast.ClassDef], depth: int = 0
) -> tuple[str, tuple[str, ...]]:
    """What it takes, and what of it must be given."""
    if isinstance(one, ast.FunctionDef):
        return _takes(one.args, own=False)
    assert isinstance(one, ast.ClassDef)
    for part in one.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return _takes(part.args, own=True)
    above = next((classes[n] for n in map(_last_name, one.bases) if n in classes), None)
    return _parameters(above, classes, depth + 1) if above and depth < len(classes) else ("", ())


def _takes(args: ast.arguments, own: bool) -> tuple[str, tuple[str, ...]]:
    plain = [*args.posonlyargs, *args.args][1 if own else 0 :]
    defaults = [*[None] * len(plain), *args.defaults][-len(plain) :] if plain else []
    pairs = [*zip(plain, defaults, strict=True)]
    shown = list(_shown(pairs))
    if args.vararg:
        shown.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        shown.append("*")
    named = [*zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    shown += _shown(named)
    if args.kwarg:
        shown.append(f"**{args.kwarg.arg}")
    return ", ".join(shown), tuple(one.arg for one, value in [*pairs, *named] if value is None)


def _shown(pairs: list[tuple[ast.arg, ast.expr | None]]) -> Iterator[str]:
    for one, value in pairs:
        yield one.arg if value is None else f"{one.arg}={ast.unparse(value)}"
