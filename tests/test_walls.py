"""The two walls: the engine knows no window, and the window knows no torch."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

import gui
from tests.helpers.patience import HANG

ROOT = Path(__file__).resolve().parent.parent
TORCH = {"torch", "torchvision", "torchattacks"}
QT = {"PySide6", "pyqtgraph", "gui"}


def tool(name: str) -> dict[str, Any]:
    """What ``pyproject.toml`` tells a tool."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return dict(tomllib.loads(text)["tool"][name])


def contracts() -> list[dict[str, object]]:
    return list(tool("importlinter")["contracts"])


def torch_free() -> list[str]:
    """The modules of the engine that the contracts promise to be free of torch."""
    (sources,) = [
        c["source_modules"] for c in contracts() if "torch" in c.get("forbidden_modules", ())
    ]  # type: ignore[operator]
    return [name for name in sources if name.startswith("engine.")]  # type: ignore[attr-defined]


def with_submodules(name: str) -> list[str]:
    path = getattr(importlib.import_module(name), "__path__", None)
    return [name, *(m.name for m in pkgutil.walk_packages(path, f"{name}."))] if path else [name]


def assert_loads_without(modules: list[str], forbidden: set[str]) -> None:
    """Import the modules in a fresh interpreter and look at what came with them."""
    script = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"found = {sorted(forbidden)!r}\n"
        "sys.exit(' '.join(name for name in found if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, f"{modules}: loads {done.stderr}"


def test_the_contracts_hold() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(contracts())} kept, 0 broken." in done.stdout


def imports() -> dict[str, set[str]]:
    """What each module of both halves imports; imports for types count as well."""
    graph = grimp.build_graph("engine", "gui")
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        graphlib.TopologicalSorter(imports()).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"A circle of imports: {' <- '.join(error.args[1])}")


def test_both_halves_are_typed_strictly() -> None:
    settings = tool("mypy")
    assert settings["strict"]
    assert settings["packages"] == ["engine", "gui"]
    ours = [one for one in settings["overrides"] if {"engine", "gui"} & _tops(one["module"])]
    assert not ours, "an exception for code of our own"
    ignores = [path for path in (ROOT / "gui").rglob("*.py") if "type: ignore" in path.read_text()]
    assert ignores == [ROOT / "gui" / "widgets" / "plots.py"]  # pyqtgraph has no types


def _tops(modules: list[str]) -> set[str]:
    return {name.split(".")[0] for name in modules}


@pytest.mark.parametrize(("half", "most"), [("engine", 8), ("gui", 4)])
def test_the_top_of_a_half_is_short(half: str, most: int) -> None:
    modules = sorted(path.name for path in (ROOT / half).glob("*.py"))
    assert len(modules) <= most, modules


def test_no_test_imports_from_another() -> None:
    """What tests share lies in ``tests/helpers``; a test can then be changed for itself."""
    taken = [
        (str(path.relative_to(ROOT)), node.module)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.")
    ]
    assert len(taken) > 100
    assert not [
        (file, module)
        for file, module in taken
        if module.split(".")[-1].startswith(("test_", "conftest"))
    ]


def test_the_window_starts_without_torch() -> None:
    assert_loads_without(["gui.app"], TORCH | {"scipy", "sklearn", "matplotlib"})


def test_the_runner_works_without_qt() -> None:
    assert_loads_without(["engine.pipeline.runner", "engine.process.worker", "engine.cli.main"], QT)


@pytest.mark.parametrize("name", torch_free())
def test_torch_free_modules_load_without_torch(name: str) -> None:
    assert_loads_without(with_submodules(name), TORCH | QT)


def test_every_module_of_the_window_loads_without_torch() -> None:
    names = [m.name for m in pkgutil.walk_packages(gui.__path__, "gui.")]
    assert_loads_without([name for name in names if name != "gui.__main__"], TORCH)


def test_the_check_sees_what_it_forbids() -> None:
    with pytest.raises(AssertionError, match="loads json"):
        assert_loads_without(["json"], {"json"})
