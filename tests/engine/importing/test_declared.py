"""What a Python file declares and what arguments say, found without running either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelError, SpecError
from engine.importing.arguments import parse_arguments
from engine.importing.declared import Declared, declared, likely

FILE = """
import torch.nn as nn
raise SystemExit("this file runs")

class Block(nn.Module):
    def __init__(self, width, /, stride=1, *more, groups, bias=True, **rest): ...

class Chain(nn.Sequential):
    def __init__(self): self.block = Block(1)

class Child(Chain): ...
class Odd(Child, Generic[T]): ...
class Config: ...
class Loop(Loop): ...
class _Hidden(nn.Module): ...
def factory(kind=Block): ...
async def later(): ...
"""


def found(tmp_path: Path, text: str) -> dict[str, Declared]:
    (tmp_path / "net.py").write_text(text, "utf-8")
    return {one.name: one for one in declared(tmp_path / "net.py")}


def test_networks_are_known_by_what_they_derive_from(tmp_path: Path) -> None:
    there = found(tmp_path, FILE)
    assert list(there) == ["Block", "Chain", "Child", "Odd", "factory"]
    takes = "width, stride=1, *more, groups, bias=True, **rest"
    assert (there["Block"].takes, there["Block"].needs) == (takes, ("width", "groups"))
    assert there["Block"].used
    assert (there["Odd"].takes, there["Odd"].used) == ("", False)
    assert there["factory"].kind == "function"


@pytest.mark.parametrize(
    ("text", "alone", "name"),
    [
        (FILE, False, "Odd"),  # what others are made of or derive from is not meant
        ("class A(Module): ...\nclass B(Module): ...\n", False, ""),
        ("class A(Module): ...\ndef make(): ...\n", False, "A"),
        ("class A(Module): ...\ndef make(): ...\n", True, "make"),
        ("def net(): ...\n", False, "net"),
        ("def net(): ...\ndef other(): ...\n", False, ""),
        ("", True, ""),
    ],
)
def test_one_is_proposed_only_where_the_file_tells(
    tmp_path: Path, text: str, alone: bool, name: str
) -> None:
    assert likely(tuple(found(tmp_path, text).values()), alone) == name


@pytest.mark.parametrize("text", ["def (", "x = '\0'", "(" * 5000])
def test_what_is_not_python_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="is not Python"):
        found(tmp_path, text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_values_are_read_as_python_writes_them(places: list[Any], names: dict[str, Any]) -> None:
    text = ", ".join([*map(repr, places), *(f"{key}={one!r}" for key, one in names.items())])
    if len(text) <= 4000:
        assert parse_arguments(text).within({}, "net.py") == (places, names)


def test_names_are_those_of_the_file() -> None:
    given = parse_arguments("Block, [Block, 2], norm=nn.Norm, more={'a': (Block,)}")
    namespace = {"Block": int, "nn": type("nn", (), {"Norm": str})}
    places, names = given.within(namespace, "net.py")
    assert places == [int, [int, 2]]
    assert names == {"norm": str, "more": {"a": (int,)}}


@pytest.mark.parametrize(
    "text",
    ["f()", "__import__('os').system('x')", "1 + 1", "*a", "**a", "[x for x in y]", "a=1, a=2",
     ") + f(", "a=", "lambda: 1", "f'{x}'", "a[0]", "x := 1", "{**a}", "[" * 300, "1, " * 3000,
     "a.b().c", "1), g("],
)  # fmt: skip
def test_everything_else_is_refused_at_its_field(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_arguments(text).within({"f": print, "a": [1], "x": 1, "y": [1]}, "net.py")
    assert caught.value.field == "args"
