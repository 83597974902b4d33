"""A database of before the rooms of ``engine`` were laid out, kept to be found again.

``databases/kept`` holds what ``crumple run study.toml --device cpu`` wrote then: the database,
the images of its runs (no weights), what results, lights and samples said (``expected.json``),
and the key of a run of each method with its defaults (``keys.json``).

Where a test says that a key changed, every database of users loses those runs: they would be
computed again. Only if that is meant, because the numbers of a stage became others and its
version was raised, keep a new one: ``python -m tests.helpers.kept_database``.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from engine import catalog
from engine.pipeline import runner
from engine.report.evidence import lights, summarise
from engine.specs.choices import Recipe, make_attack, make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Run, Study
from engine.store import Store, Writer
from engine.store.artifacts import folder_of
from engine.store.stage_keys import run_keys

FOLDER = Path(__file__).parent / "databases" / "kept"
STUDY = FOLDER / "study.toml"
_IMAGES = ("images", "runs")


def restore(folder: Path) -> Path:
    """A copy of the database with its artifacts in a folder, named as then; gives its path."""
    path = folder / "kept.db"
    shutil.copy(FOLDER / "results.sqlite", path)
    for name in _IMAGES:
        shutil.copytree(FOLDER / name, folder / "kept.artifacts" / name)
    return path


def expected() -> dict[str, Any]:
    """What was said of the runs when they were stored; numbers of runs are text there."""
    return dict(json.loads((FOLDER / "expected.json").read_text("utf-8")))


def keys() -> dict[str, dict[str, str]]:
    """The key of a run of each attack and each compression with its defaults, as it was."""
    return dict(json.loads((FOLDER / "keys.json").read_text("utf-8")))


def said(store: Store) -> dict[str, Any]:
    """What is said of the runs today, as ``expected`` has it."""
    found: dict[str, Any] = {"results": store.results("Kept")}
    found |= {"lights": {}, "summaries": {}, "samples": {}}
    for row in found["results"]:
        number, run = str(row["run_id"]), store.run(row["run_id"])
        shown = lights(run, store.checks(row["run_id"]))
        found["lights"][number] = [[one.id, one.level, one.figure, one.words] for one in shown]
        found["summaries"][number] = summarise(run, shown).text
        found["samples"][number] = sum(one["broken"] for one in store.samples(row["run_id"]))
    return found


def key_of(recipe: Recipe, attack: str, training_precision: str = "fp32") -> str:
    """The key of a run with the defaults of an attack."""
    run = Run(
        dataset=DatasetSpec(name="digits", limit=12),
        model="digits-resnet-at",
        recipe=recipe,
        attack=make_attack({"name": attack}),
        seed=3,
        keep_images=7,
    )
    return run_keys(run, "data", "model", "fp32", "training", training_precision).run


def recipe_of(id_: str) -> Recipe:
    """The recipe of one step with its defaults."""
    return () if id_ == "none" else (make_step({"name": id_}),)


def _keep() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "kept.db"
        with Writer(path) as store:
            options = runner.Options(device="cpu")
            runner.run(Study.from_toml(STUDY), store, lambda _: None, options=options)
            _write("expected.json", said(store))
        with sqlite3.connect(path) as database:
            database.executescript("PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM")
        shutil.copy(path, FOLDER / "results.sqlite")
        for part in _IMAGES:
            shutil.rmtree(FOLDER / part)
            shutil.copytree(folder_of(path) / part, FOLDER / part)
    steps = catalog.section("compressions")
    _write(
        "keys.json",
        {
            "attacks": {id_: key_of((), id_) for id_ in catalog.section("attacks")},
            "compressions": {id_: key_of(recipe_of(id_), "pgd") for id_ in steps},
            "compressions trained in bf16": {
                id_: key_of(recipe_of(id_), "pgd", "bf16") for id_ in steps
            },
        },
    )


def _write(name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=0, ensure_ascii=False)
    (FOLDER / name).write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    _keep()
