"""What became of each step of a recipe, as lights for the details panel; no widgets."""

from __future__ import annotations

from collections.abc import Sequence

from engine.report.evidence import Light
from engine.statistics.run_checks import LEVELS
from engine.statistics.words import percent
from engine.store import Payload


def step_lights(records: Sequence[Payload]) -> list[Light]:
    """One light per step (``recipe_stage.Made``), with its time, accuracies and warnings."""
    return [_light(number, record) for number, record in enumerate(records, 1)]


def _light(number: int, record: Payload) -> Light:
    flags = record.get("flags", ())
    level = min((flag["level"] for flag in flags), key=LEVELS.index, default="ok")
    # Before an older version looked at steps there was only their name.
    facts = [line for line in (_time(record), _accuracy(record)) if line]
    words = "\n".join((*facts, *(flag["text"] for flag in flags)))
    return Light(f"step-{number}", f"{number}  {record['step']}", level, words=words)


def _time(record: Payload) -> str:
    seconds = record.get("seconds")
    if seconds is None:
        return ""
    epochs = len(record.get("epochs", ()))
    trained = f", trained for {epochs} epoch{'' if epochs == 1 else 's'}" if epochs else ""
    return f"{seconds:.1f} s{trained}{_place(record)}"


def _place(record: Payload) -> str:
    """Where and how a step trained; an older version did not note it."""
    if "precision" not in record:
        return ""
    return f" on {record['device']} in {record['precision']}"


def _accuracy(record: Payload) -> str:
    before, after = record.get("clean_before"), record.get("clean_after")
    if before is None or after is None:
        return ""
    return f"clean {percent(before)} → {percent(after)} on held-out images"
