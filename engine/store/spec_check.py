"""Whether runs are listed and keyed as what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError
from sqlite_utils import Database

from engine import catalog
from engine.errors import CrumpleError
from engine.specs.study import Run
from engine.store.database import ResultsDatabase
from engine.store.faults import Fault
from engine.store.seals import seal_rows
from engine.store.stage_keys import STAGE_VERSIONS, data_key, learns, run_key, variant_key
from engine.store.writer import Writer


def specs(db: Database) -> Iterator[Fault]:
    """Runs whose columns say something else than their specs."""
    for row in db.query(
        "SELECT id, spec, dataset, model, compression, attack, eps, norm FROM runs"
    ):
        run_id = row["id"]
        try:
            spec = Run.model_validate_json(row["spec"])
            told: dict[str, object] = {
                "dataset": spec.dataset.label,
                "model": spec.model,
                "compression": spec.compression,
                "attack": spec.attack.label,
                "eps": spec.attack.eps,
                "norm": spec.attack.norm,
            }
        except (CrumpleError, ValidationError):
            yield Fault(f"What run {run_id} does cannot be read any more.")
            continue
        other = {name: value for name, value in told.items() if row[name] != value}
        if other:
            yield Fault(
                f"Run {run_id} is listed with another {' and '.join(other)} than it has.",
                "The list is corrected.",
                partial(_correct, run_id=run_id, columns=other),
            )


def _correct(store: Writer, run_id: int, columns: dict[str, object]) -> None:
    names = ", ".join(f"{name} = ?" for name in columns)
    store.db.execute(f"UPDATE runs SET {names} WHERE id = ?", (*columns.values(), run_id))
    seal_rows(store.db, "runs", "id = ? AND status = 'finished'", (run_id,))


def keys(db: ResultsDatabase) -> Iterator[Fault]:
    """Runs whose keys are not those of what they do, as far as that is stored.

    A run says which versions of the stages made it. One of today's has its key from its data,
    variant, attack and seed; its data from the fingerprint of the images; its variant from the
    model, if that is in the library and nothing was trained. Of earlier versions, whose keys may
    have been made in another way, none is judged (``earlier``).
    """
    for run_id, stored, spec, stages in _made(db):
        if not _of_today(stages["stages"]):
            continue
        wrong = sorted(_other_keys(stored, spec, stages))
        if wrong:
            yield Fault(f"The {' and the '.join(wrong)} of run {run_id} is not that of its spec.")


def earlier(db: ResultsDatabase) -> int:
    """How many runs were made by earlier versions of the program: no study finds them again."""
    return sum(not _of_today(environment["stages"]) for *_, environment in _made(db))


def _of_today(versions: Mapping[str, int]) -> bool:
    return all(versions.get(name) == STAGE_VERSIONS[name] for name in ("data", "variant", "attack"))


def _made(db: ResultsDatabase) -> Iterator[tuple[int, dict[str, str], Run, dict[str, Any]]]:
    """Runs that say what made them: id, keys, spec and environment."""
    if "environment_id" not in db.run_columns:
        return
    rows = db.tuples(
        "SELECT runs.id, key, variant_key, data_key, spec, content FROM runs "
        "JOIN environments ON environments.id = environment_id WHERE status = 'finished'"
    )
    for run_id, key, variant, data, spec, content in rows:
        try:
            environment = json.loads(content)
            run = Run.model_validate_json(spec)
            if environment["stages"] and environment["data_fingerprint"]:
                yield run_id, {"key": key, "variant": variant, "data": data}, run, environment
        except (CrumpleError, ValidationError, ValueError, LookupError, TypeError):
            continue  # told by the other checks


def _other_keys(
    stored: Mapping[str, str], run: Run, environment: Mapping[str, Any]
) -> Iterator[str]:
    if stored["data"] != data_key(run, environment["data_fingerprint"]):
        yield "key of the data"
    precisions = ("fp32", "bf16", "auto")
    made = {run_key(run, stored["data"], stored["variant"], one) for one in precisions}
    if stored["key"] not in made:
        yield "key"
    known = catalog.section("models")
    if not learns(run.recipe) and run.model in known:
        basis = catalog.model_card(run.model).basis
        if stored["variant"] != variant_key(run, basis):
            yield "key of the variant"
