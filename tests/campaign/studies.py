"""Study files with damage: to the text, and to single values, keys and tables."""

from __future__ import annotations

import copy
import datetime
import math
import random
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from engine import data
from engine.host import paths
from engine.specs.study import Study
from tests.campaign.tally import Wrong, damaged, main

SOURCES = [
    path.read_text("utf-8") for path in sorted((paths.resources() / "studies").glob("*.toml"))
]
VALUES: tuple[Any, ...] = (
    True, False, 0, 1, -1, 3.0, 2.5, -0.0, 1e-300, 1e300, 10**30, 10**400, math.nan, math.inf,
    "", " ", "8/255", "1_0/255", " 8 /255", "8/0", "nan", "inf", "1e999", "٣", "true", "none",
    "auto", "digits", "pgd", "magnitude", "x" * 3000, "two\nlines", "\0", "a|b", "=1+1", "../../x",
    "~nobody/x",
    [], [[]], [1, [2]], [True], {}, {"name": "pgd"}, {"steps": []}, {"a": {"b": {"c": 1}}},
    datetime.date(2020, 1, 1), datetime.time(1, 2),
)  # fmt: skip
KEYS = (
    "name",
    "seed",
    "steps",
    "eps",
    "limit",
    "dataset",
    "folder",
    "npz",
    "root",
    "crop",
    "x y",
    "",
)


def attempt(rng: random.Random, folder: Path) -> str:
    """Read one, and where it is accepted, write and read it again."""
    source = rng.choice(SOURCES)
    file = folder / "study.toml"
    if rng.random() < 0.4:
        file.write_bytes(damaged(source.encode(), rng))
        kind = "text"
    else:
        tables = tomllib.loads(source)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            _change(tables, rng)
        try:
            file.write_text(tomli_w.dumps(tables), "utf-8")
        except (TypeError, ValueError):  # TOML has no such table
            return "cannot be written"
        kind = "values"
    study = Study.from_toml(file)
    again = Study.from_dict(tomllib.loads(study.to_toml()))
    if again != study:
        raise Wrong(f"reading back gives another study: {study.to_toml()[:300]}")
    study.unused()
    if study.dataset.id != "digits":
        data.load(study.dataset, study.repeats[0])
    for run in study.runs():
        _check_types(run.attack.params)
        for step in run.recipe:
            _check_types(step.params)
        repr((run.compression, run.attack.label, run.attack.eps, run.attack.norm))
    return kind


def _check_types(params: dict[str, Any]) -> None:
    for name, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Wrong(f"{name} is {value}")


def _change(tables: Any, rng: random.Random) -> None:
    """One value, key or table becomes another, goes, or comes twice."""
    here = tables
    while isinstance(here, dict | list) and here:
        key = rng.choice(list(here) if isinstance(here, dict) else range(len(here)))
        inner = here[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
            break
        here = inner
    else:
        return
    match rng.randrange(6):
        case 0 | 1 | 2:
            here[key] = copy.deepcopy(rng.choice(VALUES))
        case 3:
            del here[key]
        case 4 if isinstance(here, dict):
            here[rng.choice(KEYS)] = copy.deepcopy(rng.choice((inner, *VALUES)))
        case _:
            here[key] = [copy.deepcopy(inner), copy.deepcopy(rng.choice((inner, *VALUES)))]


if __name__ == "__main__":
    main("studies", attempt, 2000)
