"""What makes two runs the same thing in a chart: told by what is stored, never by their names.

Rows carry ``spec`` (``Store.with_specs``). One without it is known by its names alone, and each
name is then taken whole.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from engine.catalog import Origin, format_number
from engine.catalog.worst_case import WORST_CASE
from engine.report.cells import one_line
from engine.report.naming import BASE, in_order
from engine.store import ResultRow
from engine.store.stage_keys import without_later

Key = str

EPS = frozenset({"eps", "max_epsilon"})
"""The parameters of attacks that are their radius."""

_DEGREES = frozenset(
    {"sparsity", "ratio", "keep", "density", "rate", "n", "m"}
    | {"bits", "weight_bits", "activation_bits"}
)
"""The parameters of steps that say how much, and not how."""


def context_key(row: ResultRow) -> Key:
    """On which images and in which repeat: study, dataset with its path and size, number, seeds."""
    spec = row.get("spec") or {}
    named = [row.get(name) for name in ("study", "dataset", "n", "seed")]
    seeds = {name: spec[name] for name in _MORE_SEEDS if spec.get(name) is not None}
    return _key(*named, spec.get("dataset"), seeds)


_MORE_SEEDS = ("shared_seed", "attack_seed")
"""Seeds that only runs of repeats have: of their images, and of a second attack."""


def images_key(row: ResultRow) -> Key:
    """On which images, the same for all repeats of a study."""
    spec = row.get("spec") or {}
    if spec.get("shared_seed") is None:
        return context_key(row)
    own = {"seed": spec["shared_seed"], "spec": {**spec, "shared_seed": None}}
    return context_key(cast(ResultRow, {**row, **own}))


def is_second_attack(row: ResultRow) -> bool:
    """Whether a run only tells how much an attack varies: its variant was attacked before."""
    return (row.get("spec") or {}).get("attack_seed") is not None


def first_attacks(rows: Iterable[ResultRow]) -> list[ResultRow]:
    """The rows without second attacks, for all that sets results beside each other.

    As results of their own these would stand twice, and enlarge a family of tests.
    """
    return [row for row in rows if not is_second_attack(row)]


def variant_key(row: ResultRow) -> Key:
    """Which variant of which model."""
    steps = _steps(row)
    recipe = row.get("compression") if steps is None else [_told(step) for step in steps]
    return _key(row.get("model"), recipe)


def attack_key(row: ResultRow, without: Collection[str] = ()) -> Key:
    """Which attack in which norm, with all its parameters but some."""
    attack = (row.get("spec") or {}).get("attack")
    if attack is None:
        return _key(row.get("attack"), row.get("norm"))
    params = _params(attack, without)
    if members := _members(attack):
        params["attacks"] = [_told(one, without) for one in members]
    return _key(attack["name"], params, row.get("norm"), *_origin(attack))


def _told(choice: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """A step or an attack, the same whether it was stored before a parameter came or after."""
    return {**choice, "params": _params(choice, without)}


def _params(choice: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    params = without_later(choice["name"], choice["params"], choice.get("origin"))
    return {name: value for name, value in params.items() if name not in without}


def _members(attack: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The attacks of a worst case; of another attack none."""
    found: Sequence[Mapping[str, Any]] = ()
    if attack["name"] == WORST_CASE:
        found = attack["params"]["attacks"]
    return found


def threat_key(row: ResultRow) -> Key:
    """Which variant, on which images, within which ball."""
    eps = "" if row["eps"] is None else repr(row["eps"])
    return _key(context_key(row), variant_key(row), row["norm"], eps)


def method(row: ResultRow) -> str:
    """What was done to the variant, without how much: ``magnitude + ptq``; or ``BASE``."""
    steps = _steps(row)
    if steps is None:
        return str(row["compression"])
    return " + ".join(" ".join((step["name"], *_origin(step))) for step in steps) or BASE


def family(row: ResultRow) -> Key:
    """What two variants share that differ only in degree; ``BASE`` for the base model."""
    steps = _steps(row)
    if steps is None:
        return str(row["compression"])
    kept = [(step["name"], _manner(step), *_origin(step)) for step in steps]
    return _key(kept) if kept else BASE


def attack_name(row: ResultRow) -> str:
    """An attack without its radius, which an axis tells: ``pgd-40``."""
    attack = (row.get("spec") or {}).get("attack")
    if attack is None:
        return str(row["attack"])
    return _called(attack)


def _called(attack: Mapping[str, Any]) -> str:
    steps = attack["params"].get("steps")
    name = str(attack["name"]) if steps is None else f"{attack['name']}-{steps}"
    return " ".join((name, *_origin(attack)))


def names(
    rows: Sequence[ResultRow], key: Callable[[ResultRow], Key], label: Callable[[ResultRow], str]
) -> dict[Key, str]:
    """A name of its own for each key, in order of first appearance.

    Where a label stands for several keys, it is followed by what differs between them.
    """
    return names_of({one: group[0] for one, group in grouped(rows, key).items()}, label)


def grouped(
    rows: Iterable[ResultRow], key: Callable[[ResultRow], Key]
) -> dict[Key, list[ResultRow]]:
    """The rows of each key, both in order of first appearance."""
    groups: dict[Key, list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def names_of(first: Mapping[Key, ResultRow], label: Callable[[ResultRow], str]) -> dict[Key, str]:
    """As ``names``, from one row of each key."""
    labels = {one: one_line(label(row)) for one, row in first.items()}
    same: dict[str, list[Key]] = defaultdict(list)
    for one, text in labels.items():
        same[text].append(one)
    for text, keys in same.items():
        if len(keys) > 1:
            labels |= _told_apart(text, {one: first[one] for one in keys})
    return labels


def _told_apart(text: str, rows: Mapping[Key, ResultRow]) -> dict[Key, str]:
    facts = {one: _facts(row) for one, row in rows.items()}
    every = in_order([name for mine in facts.values() for name in mine])
    differ = [name for name in every if len({mine.get(name) for mine in facts.values()}) > 1]
    if all(mine.get(_IMAGES) == mine.get("seed") for mine in facts.values()):
        differ = [name for name in differ if name != _IMAGES]
    found: dict[Key, str] = {}
    used: set[str] = set()
    for number, (one, mine) in enumerate(facts.items(), 1):
        words = [f"{name}={mine[name]}" for name in differ if name not in EPS and name in mine]
        longer = ", ".join([text, *words])
        found[one] = longer if longer not in used else f"{longer} ({number})"
        used.add(found[one])
    return found


_IMAGES = "images of seed"


def _facts(row: ResultRow) -> dict[str, str]:
    """Everything that may tell a row from another, spelled out."""
    spec = row.get("spec") or {}
    facts: dict[str, Any] = {name: row.get(name) for name in ("norm", "study", "n", "seed")}
    facts["attack_seed"] = spec.get("attack_seed")
    facts[_IMAGES] = row.get("seed") if spec.get("shared_seed") is None else spec["shared_seed"]
    if attack := spec.get("attack"):
        facts |= attack["params"]
        if members := _members(attack):
            facts["attacks"] = ", ".join(map(_called, members))
    facts |= {f"dataset {name}": value for name, value in (spec.get("dataset") or {}).items()}
    for number, step in enumerate(spec.get("recipe", ()), 1):
        facts |= {f"step {number} {name}": value for name, value in step["params"].items()}
    return {
        name: one_line(format_number(value) if type(value) is float else str(value))
        for name, value in facts.items()
        if value is not None
    }


def _manner(step: Mapping[str, Any]) -> dict[str, Any]:
    return _params(step, _DEGREES)


def _origin(choice: Mapping[str, Any]) -> list[str]:
    """Where a method from outside is from, in brackets; nothing for a built-in one."""
    given = choice.get("origin")
    return [f"[{Origin.model_validate(given).label}]"] if given else []


def _steps(row: ResultRow) -> Sequence[Mapping[str, Any]] | None:
    spec = row.get("spec")
    return None if spec is None else spec["recipe"]


_encoder = json.JSONEncoder(sort_keys=True, default=str)  # once: charts ask it for every run


def _key(*parts: Any) -> Key:
    return _encoder.encode(parts)
