"""The Python API: what ``engine.api`` offers, from its docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from engine import api

_SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Yields")
_ITEM = re.compile(r"^(\*{0,2}[\w.` ,*]+?): (.*)$")


def page() -> Iterator[str]:
    """The introduction of the module, then its functions and classes."""
    yield from markdown(inspect.getdoc(api) or "")
    offered = {name: getattr(api, name) for name in api.__all__}
    functions = {name: item for name, item in offered.items() if inspect.isfunction(item)}
    for heading, group in (
        ("Functions", functions),
        ("Classes", {name: item for name, item in offered.items() if name not in functions}),
    ):
        yield from ["", f"## {heading}"]
        for name, item in group.items():
            yield from ["", f"### {name}", "", *_described(name, item)]


def _described(name: str, item: Any) -> Iterator[str]:
    if inspect.isfunction(item):
        yield from ["```python", *_signature(name, item), "```", ""]
    text = inspect.getdoc(item) or ""
    if text.startswith(f"{name}("):  # what dataclasses and pydantic say of themselves
        text = ""
    yield from markdown(text)
    if inspect.isclass(item):
        yield from _methods(item)


def _methods(item: type) -> Iterator[str]:
    found = {
        name: member
        for name, member in vars(item).items()
        if not name.startswith("_") and callable(getattr(item, name)) and inspect.getdoc(member)
    }
    if not found:
        return
    yield from ["", "Methods:", ""]
    for name, member in found.items():
        function = inspect.unwrap(getattr(member, "__func__", member))
        first = (inspect.getdoc(function) or "").split("\n\n")[0]
        call = _head(name, function).removeprefix("def ")
        yield f"- `{call}`: {_inline(' '.join(first.split()))}"


def _signature(name: str, function: Any) -> list[str]:
    """The head of a function as code, over several lines if it is long."""
    head = _head(name, function)
    if len(head) <= 88:
        return [f"{head}: ..."]
    parts, arrow = _parts(function)
    return [f"def {name}(", *(f"    {part}," for part in parts), f"){arrow}: ..."]


def _head(name: str, function: Any) -> str:
    parts, arrow = _parts(function)
    return f"def {name}({', '.join(parts)}){arrow}"


def _parts(function: Any) -> tuple[list[str], str]:
    """The parameters as written, without self, and the arrow to the result."""
    signature = inspect.signature(function)
    taken = [one for name, one in signature.parameters.items() if name not in ("self", "cls")]
    parts = list(map(_parameter, taken))
    kinds = [one.kind for one in taken]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    result = signature.return_annotation
    return parts, "" if result is inspect.Signature.empty else f" -> {_written(result)}"


def _parameter(one: inspect.Parameter) -> str:
    star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    kind = "" if one.annotation is one.empty else f": {_written(one.annotation)}"
    equals = " = " if kind else "="
    default = "" if one.default is one.empty else f"{equals}{one.default!r}"
    return f"{star}{one.name}{kind}{default}"


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")


def markdown(text: str) -> Iterator[str]:
    """A docstring of paragraphs, sections with items, and examples."""
    for number, block in enumerate(text.split("\n\n")):
        if number:
            yield ""
        head, _, rest = block.partition("\n")
        name = head.removesuffix(":")
        if name in _SECTIONS and rest:
            yield from [f"**{name}**", ""]
            text = inspect.cleandoc(rest)
            yield from _inline(text).split("\n") if name == "Returns" else _items(text)
        elif block.lstrip().startswith(">>>"):
            yield from ["```pycon", *inspect.cleandoc(block).split("\n"), "```"]
        elif block.lstrip().startswith("- "):
            yield from _inline(block).split("\n")
        else:
            yield from _inline(block).split("\n")


def _items(text: str) -> Iterator[str]:
    """Lines that begin at the margin are items, the others continue them."""
    joined = re.sub(r"\n +", " ", text)
    for line in joined.split("\n"):
        match = _ITEM.match(line)
        if match:
            yield f"- `{match[1].strip('`')}`: {_inline(match[2])}"
        else:
            yield _inline(line)


def _inline(text: str) -> str:
    return text.replace("``", "`")
