"""What stages gave, as it is stored: payloads, the checks of runs, the records of steps."""

from __future__ import annotations

import json
from itertools import takewhile

from engine.statistics.run_checks import Check, current, run_checks
from engine.store.columns import Payload, RunRow
from engine.store.database import ResultsDatabase
from engine.store.seals import damaged, fits, gone
from engine.store.stage_keys import diagnostics_key, recipe_key


def read_stage(db: ResultsDatabase, key: str) -> Payload | None:
    """The payload of a stored stage, None if it was never computed.

    Raises:
        StoreError: it is damaged.
    """
    whole = fits("stages", db.run_columns)  # the seals of all tables came together
    rows = list(db.tuples(f"SELECT payload, kind, {whole} FROM stages WHERE key = ?", (key,)))
    for text, kind, is_whole in rows:
        try:
            payload = json.loads(text) if is_whole else None
        except (ValueError, TypeError, RecursionError):
            payload = None
        if isinstance(payload, dict):
            return payload
        raise damaged(f"figures of the stage {kind} {key[:12]}")
    return None


def checks_of(db: ResultsDatabase, row: RunRow) -> list[Check]:
    """The checks of a run (``Store.run``); where none are stored, from what is stored of it."""
    made = row["checks"].get("made")
    if made is not None:
        return current([Check.from_dict(check) for check in made], row)
    return run_checks(row, _gate(db, row).get("numbers", {}))


def _gate(db: ResultsDatabase, row: RunRow) -> Payload:
    """What the gate measured for a run that was stored without checks.

    Empty where the run does not name its gate, and it is not found.
    """
    version = row["environment"].get("stages", {}).get("diagnostics")
    named = row["checks"].get("gate")
    key = named or diagnostics_key(row["variant_key"], row["data_key"], version)
    gate = read_stage(db, key)
    if gate is None and named:
        raise gone("gate", row["id"])
    return gate or {}


def variant_of(db: ResultsDatabase, row: RunRow) -> Payload:
    """The stored variant of a run; empty before it ran, and of one that says not what made it.

    Raises:
        StoreError: the run is finished, and its variant is damaged or gone.
    """
    payload = read_stage(db, row["variant_key"])
    if payload is None and row["status"] == "finished" and "stages" in row["environment"]:
        raise gone("accounting", row["id"])
    return payload or {}


def records_of(db: ResultsDatabase, variant_key: str) -> list[Payload]:
    """The records of the steps of a variant: all, or those made before it was stopped."""
    if steps := (read_stage(db, variant_key) or {}).get("steps"):
        return list(steps)
    begun = read_stage(db, recipe_key(variant_key)) or {"steps": ()}
    found = takewhile(bool, (read_stage(db, key) for key in begun["steps"]))
    return [record for record in found if record]
