"""Damage of many kinds: each is told, and none gives a wrong number, image or traceback.

``python -m tests.campaign.damage`` does each kind at five places to a copy of one database, reads
all that can be read, looks it over (``crumple check``) and mends it, and compares every row and
every image with those of the undamaged twin. Then the disk fills up, and the database and its
folder go while runs are written (``damage_meanwhile``).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import CrumpleError
from engine.store import Store, Writer, checkup
from engine.store.seals import seal_batch
from tests.campaign.damage_kinds import KINDS
from tests.helpers import kept_database

PLACES = 5
IN_PLACE = "is not what was written"
"""What stands beside what is not given."""
_OF_A_RUN = ("run", "samples", "curve", "variant", "checks", "step_records", "images")
Told = dict[tuple[str, int], Any]
"""What was read, by function and run; an error in one sentence is its text."""


class Sentence(str):
    """An error that a person can read."""


@dataclass
class Outcome:
    """What one damage led to.

    Attributes:
        told: it was told, by reading or by ``crumple check``.
        wrong: what was given although it is not that of the twin.
        crashes: tracebacks.
        silent: something is missing and nobody says so.
    """

    told: bool = False
    wrong: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    silent: bool = False

    @property
    def word(self) -> str:
        """In one word."""
        if self.crashes:
            return "crash"
        if self.wrong:
            return "wrong"
        return "told" if self.told else "silent" if self.silent else "harmless"


def twin(folder: Path) -> Path:
    """The undamaged database: sixteen runs that were computed, their images and transfers."""
    path = folder / "lab.db"
    shutil.move(kept_database.restore(folder), path)
    shutil.move(folder / "kept.artifacts", folder / "lab.db.artifacts")
    with Writer(path) as store, store.db.atomic():
        for file in sorted(store.artifacts.rglob("*.safetensors")):
            name = file.relative_to(store.artifacts).as_posix()
            store._remember(name, hashlib.sha256(file.read_bytes()).hexdigest())
        store.variant_folder("none")  # claims the folder
        for run_id in range(1, 17):
            seal_batch(store.db, run_id, 0)
        store.db.execute("INSERT INTO annotations (run_id, tags) VALUES (1, 'mine')")
    return path


def _guarded(outcome: Outcome, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except CrumpleError as error:
        outcome.told = True
        text = str(error)
        if "\n" in text or len(text) > 2000:
            outcome.crashes.append(f"no clear sentence: {text[:300]!r}")
        return Sentence(text)
    except Exception:  # noqa: BLE001  that is what is looked for
        outcome.crashes.append(traceback.format_exc(limit=-4))
        return Sentence("crash")


def everything(path: Path, outcome: Outcome) -> Told:
    """All that can be read of a database."""
    store = _guarded(outcome, lambda: Store(path, readonly=True))
    told: Told = {}
    if isinstance(store, Sentence):
        return told
    with store:
        told["study", 1] = _guarded(outcome, lambda: store.study(1).to_dict())
        for name in ("results", "queue", "transfers", "studies", "paces", "step_paces"):
            rows = _guarded(outcome, getattr(store, name))
            for row in [] if isinstance(rows, Sentence) else rows:
                key = "source_run target_run" if name == "transfers" else "run_id"
                number = hash(tuple(row.get(part, row.get("id")) for part in key.split()))
                told[name, number] = row
        for run_id in range(1, 17):
            for name in _OF_A_RUN:
                told[name, run_id] = _guarded(outcome, partial(getattr(store, name), run_id))
    return told


def compare(whole: Told, told: Told, outcome: Outcome) -> None:
    """Whether what is given is what the twin gives."""
    for key, expected in whole.items():
        value = told.get(key)
        if value is None:
            outcome.silent = True
        elif isinstance(value, Sentence):
            continue
        elif IN_PLACE in repr(value):
            outcome.told = True
        elif not _same(expected, value):
            outcome.silent = True  # unless it is told
            if key[0] != "studies" and _another_number(expected, value):
                outcome.wrong.append(f"{key[0]} of {key[1]}: {_difference(expected, value)}")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    return bool(one == other)


def _difference(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        names = [name for name in one if not _same(one[name], other.get(name))]
        return ", ".join(f"{name} {one[name]!r} -> {other.get(name)!r}"[:200] for name in names)
    return f"{str(one)[:80]} -> {str(other)[:80]}"


def _another_number(one: Any, other: Any) -> bool:
    """Whether a number or a picture is given that is another one, not just none."""
    if other is None:
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_another_number(one[name], other[name]) for name in one.keys() & other.keys())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return any(_another_number(*pair) for pair in zip(one, other, strict=False))
    if isinstance(one, np.ndarray):
        return len(other) > 0 and not _same(one, other)
    if isinstance(one, int | float):
        return bool(one != other)
    return isinstance(other, int | float | bytes) and other != one


def attempt(whole: Path, kind: str, seed: int) -> Outcome:
    """Damage a copy, read it, look it over, mend it and read it again."""
    outcome = Outcome()
    rng = random.Random(f"{kind} {seed}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / whole.name
        for source in whole.parent.glob("lab.db*"):
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, path.with_name(source.name))
        expected = everything(whole, Outcome())
        KINDS[kind](rng, path)
        read = everything(path, outcome)
        faults = _guarded(outcome, lambda: _check(path))
        outcome.told |= bool(faults)
        compare(expected, read, outcome)
        if outcome.told:
            _guarded(outcome, lambda: _mend(path))
            after = Outcome()
            compare(expected, everything(path, after), after)
            outcome.crashes += after.crashes
    return outcome


def _check(path: Path) -> list[checkup.Fault]:
    with Store(path, readonly=True) as store:
        return checkup.check(store)


def _mend(path: Path) -> None:
    with Writer(path) as store:
        checkup.repair(store)


def kinds(first: int = 0) -> Iterator[str]:
    """All kinds, from this one on."""
    yield from list(KINDS)[first:]


def main() -> None:
    """Print what came of each kind; exit 1 if anything was wrong, silent or crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.damage")
    parser.add_argument("--places", type=int, default=PLACES)
    parser.add_argument("--kind")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        whole = twin(Path(name))
        for kind in [options.kind] if options.kind else kinds():
            found = [attempt(whole, kind, place) for place in range(options.places)]
            words = Counter(outcome.word for outcome in found)
            totals += words
            print(f"{kind}: " + ", ".join(f"{count} {word}" for word, count in words.items()))
            for outcome in found:
                for text in (outcome.crashes + outcome.wrong)[:2]:
                    print("    " + text.strip().replace("\n", "\n    "), flush=True)
    print(dict(totals))
    sys.exit(bool(totals["wrong"] or totals["silent"] or totals["crash"]))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
