"""Only the search writes what it knows: no attack sets a mode, a count or a verdict in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSIDE = ROOT / "engine" / "attacks" / "search"
OF_SEARCH = {"search", "_search", "verdicts", "queries"}


def _names(node: ast.AST) -> set[str]:
    named = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return named | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


def writes(tree: ast.AST) -> Iterator[str]:
    """Assignments to an attribute of a search, or to entries of one of its tensors."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                pass
            case ast.AugAssign(target=target) | ast.For(target=target):
                targets = [target]
            case ast.Call(func=ast.Name(id="setattr"), args=[first, *_]):
                targets = [ast.Attribute(first, "any")]
            case _:
                continue
        for target in targets:
            for part in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(part, ast.Attribute | ast.Subscript):
                    owner = part.value
                    own = isinstance(owner, ast.Name) and owner.id == "self"
                    if not own and _names(owner) & OF_SEARCH:
                        yield ast.unparse(part)


def test_nobody_outside_writes_into_a_search() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for folder in (ROOT / "engine", ROOT / "docs" / "examples")
        for path in folder.rglob("*.py")
        if INSIDE not in path.parents
        for text in writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "search.bf16 = True",
        "for search.bf16 in (True, False): pass",
        "search.broken_at_step[rows[won]] = since",
        "search.verdicts.broken[rows] = True",
        "search.verdicts.broken |= wrong",
        "self._search.rescaled |= True",
        "a, search.part = 1, 'square'",
        "getattr(search, name)[rows] += 1",
        "setattr(search, name, 1)",
    ],
)
def test_the_check_sees_what_it_forbids(code: str) -> None:
    assert list(writes(ast.parse(code)))


def test_reading_is_free() -> None:
    lines = "broken = search.verdicts.broken", "self._search = search", "a[search.labels] = 1"
    assert not list(writes(ast.parse("\n".join(lines))))
