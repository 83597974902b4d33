"""What is known of a method stands in its entry: no other module keeps lists of methods."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import catalog

ROOT = Path(__file__).parents[3]
METHODS = {id_ for name in ("attacks", "compressions") for id_ in catalog.section(name)}
"""All ids, and what torchattacks calls its classes; ``none`` is a variant rather than a method."""
METHODS |= {id_.removeprefix("torchattacks.") for id_ in METHODS}
METHODS -= {"none"}
REGISTRIES = {
    ("engine/attacks/registry.py", "REGISTRY"),
    ("engine/compression/registry.py", "METHODS"),
    ("engine/attacks/torchattacks/checks.py", "CHECKS"),
}
"""Which code belongs to which id; that is not for the catalogue, which is free of torch."""


def collections(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Sets, tuples, lists and keys with two method ids or more, and sets of one."""
    for node in ast.walk(tree):
        match node:
            case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                pass
            case ast.Dict(keys=keys):
                parts = [key for key in keys if key is not None]
            case _:
                continue
        texts = [part.value for part in parts if isinstance(part, ast.Constant)]
        ids = [text for text in texts if isinstance(text, str) and text in METHODS]
        if len(ids) > 1 or (isinstance(node, ast.Set) and ids and len(ids) == len(parts)):
            yield node.lineno, ids


def questions(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Comparisons and cases that ask which method something is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = any(ast.unparse(side).endswith(("name", "'name']", "id")) for side in sides)
            texts = [side.value for side in sides if isinstance(side, ast.Constant)]
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            asked, texts = True, [node.value.value]
        else:
            continue
        ids = [text for text in texts if isinstance(text, str) and text in METHODS]
        if asked and ids:
            yield node.lineno, ids


def registries(tree: ast.Module) -> Iterator[tuple[str, range]]:
    """Names that are assigned at the top of a module, with their lines."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, range(node.lineno, (node.end_lineno or node.lineno) + 1)


def findings() -> list[str]:
    found = []
    for path in sorted([*(ROOT / "engine").rglob("*.py"), *(ROOT / "gui").rglob("*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith("engine/catalog/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        allowed = [
            line for of, lines in registries(tree) if (name, of) in REGISTRIES for line in lines
        ]
        seen = [*collections(tree), *questions(tree)]
        found += [f"{name}:{line} {ids}" for line, ids in seen if line not in allowed]
    return found


def test_no_module_but_the_catalogue_keeps_a_list_of_methods() -> None:
    assert findings() == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ('FAST = {"pgd"}', True),
        ('FAST = frozenset({"pgd", "square"})', True),
        ('FAST = ("fab-t", "anything", "square")', True),
        ('FAST = ["DeepFool", "JSMA"]', True),
        ('COST = {"hydra": 1, "kd": 2}', True),
        ('if step.name == "channel": pass', True),
        ('if row["name"] != "apgd-t": pass', True),
        ('match name:\n    case "magnitude": pass', True),
        ('PATTERNS = ("irregular", "filter", "column")', False),
        ('if pattern == "filter": pass', False),
        ('make_attack({"name": "square", "n_queries": 5})', False),
    ],
)
def test_the_check_sees_what_it_forbids(code: str, seen: bool) -> None:
    tree = ast.parse(code)
    assert bool([*collections(tree), *questions(tree)]) == seen
