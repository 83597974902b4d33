"""Running a Python file of a person as a module, with what lies beside it."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

_ALIAS = "crumple_user_"
"""Before the names of modules, so that a file called json.py is not taken for json."""


def run(path: Path, content: bytes, syntax: ast.Module) -> types.ModuleType:
    """Run a file.

    Where it imports relatively (``from .layers import Block``), its folder is a package, as for
    Python itself.

    Args:
        path: of the file.
        content: of the file; just this is run.
        syntax: the same, parsed.
    """
    for name in [one for one in sys.modules if one.startswith(_ALIAS)]:
        del sys.modules[name]  # of an earlier run: the files may have changed
    path = path.resolve()
    package, name = "", f"{_ALIAS}{path.stem}"
    if levels := _levels(syntax):
        package, name = _package(_top(path, levels), path)
    known = sys.modules.get(name)
    if known is not None:  # its package has imported it
        return known
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(path), package
    sys.modules[name] = module  # dataclasses and type hints look there
    exec(compile(content, str(path), "exec"), module.__dict__)
    return module


def _levels(syntax: ast.Module) -> int:
    """How many folders up its relative imports go; 0 without any."""
    found = (node.level for node in ast.walk(syntax) if isinstance(node, ast.ImportFrom))
    return max(found, default=0)


def _top(path: Path, levels: int) -> Path:
    """The folder of the outermost package that a file is in."""
    return _outer(path.parents[min(levels, len(path.parents)) - 1])


def _outer(folder: Path) -> Path:
    """The outermost package that a package is in; the folder itself if it is none."""
    while _is_package(folder) and _is_package(folder.parent):
        folder = folder.parent
    return folder


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _package(top: Path, path: Path) -> tuple[str, str]:
    """Make a package known under an alias; the names of a file's package and module in it."""
    alias = f"{_ALIAS}{top.name}"
    code = top / "__init__.py"
    places = [str(top)]
    if code.is_file():
        spec = importlib.util.spec_from_file_location(
            alias, code, submodule_search_locations=places
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[alias] = package
        spec.loader.exec_module(package)
    else:
        package = types.ModuleType(alias)
        package.__path__ = places
        sys.modules[alias] = package
    *outer, last = [alias, *path.relative_to(top).with_suffix("").parts]
    parent = ".".join(outer)
    importlib.import_module(parent)
    return parent, parent if last == "__init__" else f"{parent}.{last}"


@contextlib.contextmanager
def beside(path: Path) -> Iterator[None]:
    """Modules that lie beside a file, its folder or its package are found after all others."""
    folder = path.resolve().parent
    places = [str(one) for one in dict.fromkeys([folder, folder.parent, _outer(folder).parent])]
    sys.path.extend(places)
    try:
        yield
    finally:
        for place in places:
            if place in sys.path:  # the file may have changed the list
                sys.path.reverse()
                sys.path.remove(place)
                sys.path.reverse()


def line_of(error: BaseException, path: Path) -> str:
    """Where in a file it failed, for a sentence; empty if somewhere else."""
    file = str(path.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if one.filename == file]
    return f" in line {lines[-1]}" if lines else ""
