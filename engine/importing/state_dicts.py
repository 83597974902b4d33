"""State dicts in what was saved: where they lie, what they are called, and which one is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from engine.errors import ModelError
from engine.importing.kinds import KINDS
from engine.importing.plain_tensors import few
from engine.models.files.safe_pickle import StandIn, whole_network
from engine.safe_files.arrays import Array

WRAPPERS = ("state_dict", "net", "model", "model_state_dict", "model_state", "swa_state_dict",
            "state_dict_ema", "ema")  # fmt: skip
"""Keys under which training programs keep the weights; the first that is there is taken."""

_DEEPEST = 3
_MOST_STATES = 64
_WEIGHTS = ("weight", "weight_orig", "weight_v", "original", "original1", "_packed_params")
"""Ends of names that only weights have: an optimiser's state has matrices, too."""

Path = tuple[Any, ...]

"""The keys and places that lead to one."""


def find(tree: Any, name: str) -> tuple[dict[Path, Mapping[Any, Any]], dict[Path, str]]:
    """All state dicts of a file, and what the user calls them.

    Raises:
        ModelError: there is none.
    """
    places = dict(_places(tree, ()))
    if not places:
        _refuse_objects(tree, name)
        raise _no_weights(tree, name)
    return places, _called(list(places))


def meant(
    part: str | None, places: Mapping[Path, Mapping[Any, Any]], names: Mapping[Path, str], name: str
) -> tuple[list[Path], str | None]:
    """Those that a part means, or that are meant if nothing is said; and the prefix it means.

    Raises:
        ModelError: there is no such part.
    """
    return (_first(places), None) if part is None else _named(part, names, places, name)


def _places(tree: Any, path: Path) -> Iterator[tuple[Path, Mapping[Any, Any]]]:
    """All state dicts, with the keys that lead to them."""
    if _is_state(tree, len(path)):
        yield path, tree
    elif isinstance(tree, Mapping | list | tuple) and len(path) < _DEEPEST:
        inside = tree.items() if isinstance(tree, Mapping) else enumerate(tree[:_MOST_STATES])
        for key, value in inside:
            yield from _places(value, (*path, key))


def _is_state(value: Any, depth: int) -> bool:
    if not isinstance(value, Mapping):
        return False
    if depth > 1 and not any(str(key).rpartition(".")[2] in _WEIGHTS for key in value):
        return False
    return any(
        (isinstance(one, torch.Tensor) and one.dim() >= 2)
        or (isinstance(one, Array | StandIn) and str(key).endswith("weight"))
        for key, one in value.items()
    )


def _first(places: Iterable[Path]) -> list[Path]:
    """Those that are meant if nothing is said: under the first of the usual names, or all."""
    usual = next((key for key in WRAPPERS for path in places if path[:1] == (key,)), None)
    return [path for path in places if usual is None or path[0] == usual]


def _called(paths: list[Path]) -> dict[Path, str]:
    """A name for each, without the keys that all have; the last key is always in it."""
    shared = 0
    while (
        all(len(path) > shared + 1 for path in paths) and len({one[shared] for one in paths}) == 1
    ):
        shared += 1
    return {path: ".".join(map(str, path[shared:])) for path in paths}


def _named(
    part: str, names: Mapping[Path, str], places: Mapping[Path, Mapping[Any, Any]], name: str
) -> tuple[list[Path], str | None]:
    """The state dict that a part means, or the one that has its prefix, and the prefix."""
    for path in places:
        if part in (names[path], ".".join(map(str, path))) or (path and str(path[-1]) == part):
            return [path], None
    inside: list[str] = []
    for path, weights in places.items():
        title = names[path]
        inner = part.removeprefix(f"{title}.") if title else part
        prefixes = _prefixes(weights)
        for prefix in sorted(prefixes, key=len):
            if prefix == inner or prefix.endswith(f".{inner}"):
                return [path], f"{prefix}."
        inside += sorted(one for one in prefixes if one.count(".") == 0)
    known = [one for one in names.values() if one] or list(dict.fromkeys(inside))
    raise ModelError(
        f"The file {name} has no weights under {part!r}.",
        f"It has some under: {few(known, 12) or 'no name'}.",
        field="part",
    )


def _prefixes(weights: Mapping[Any, Any]) -> set[str]:
    found = set()
    for key in weights:
        owners = str(key).split(".")[:-1]
        found |= {".".join(owners[:count]) for count in range(1, min(len(owners), 4) + 1)}
    return found


def _refuse_objects(tree: Any, name: str) -> None:
    """Weights that lie in an object of another program cannot be had without running it."""
    items = list(tree.items()) if isinstance(tree, Mapping) else []
    for key, value in [("", tree), *items]:
        if isinstance(value, StandIn) and (not key or key in WRAPPERS):
            raise whole_network(name, value.origin)


def _no_weights(tree: Any, name: str) -> ModelError:
    tensors = _nameless(tree)
    if tensors:
        return ModelError(
            f"The file {name} holds {tensors} tensors in a list, without names: which belongs "
            "where is not guessed.",
            "Save them by name: dict(zip((key for key, _ in net.named_parameters()), tensors)), "
            "with the buffers of net.state_dict().",
        )
    if not isinstance(tree, Mapping):
        kind = type(tree).__name__
        return ModelError(f"The file {name} holds a {kind} instead of a state dict.", KINDS)
    return ModelError(f"The file {name} holds no weights: no state dict is in it.", KINDS)


def _nameless(tree: Any, depth: int = 0) -> int:
    """How many matrices the longest list of tensors holds, as averages of weights are kept."""
    if isinstance(tree, list | tuple):
        return sum(isinstance(one, torch.Tensor) and one.dim() >= 2 for one in tree)
    if not isinstance(tree, Mapping) or depth >= _DEEPEST:
        return 0
    return max((_nameless(one, depth + 1) for one in tree.values()), default=0)
