"""Two processes write into one database at once: nothing is refused, nothing is lost.

``python -m tests.campaign.two_writers --seconds 60`` does each of three things for so long: a
person tags while a study runs, a person tags while studies are queued, and two commands run a
study each (of which one is told to wait, and waits).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import CrumpleError
from engine.pipeline import runner
from engine.specs.study import Study
from engine.store import Store, Writer
from tests.benchmarks.large_store import queue
from tests.benchmarks.large_store import study as large_study
from tests.helpers.filled_store import sample
from tests.helpers.patience import HANG, until
from tests.helpers.studies import small_study

Enough = Callable[[int], bool]
"""Whether after so many rounds there were enough."""

_A_PERSON = 0.05
"""Seconds between two commands of somebody who tags some thirty runs with each."""

WAITS = "Another Crumple is computing into"


@dataclass
class Writes:
    """What came of the writes of both processes.

    Attributes:
        tried: how many there were.
        refused: those that ended with a ``CrumpleError``.
        lost: those that are not in the database afterwards.
        tracebacks: what else ended one.
    """

    name: str
    tried: int = 0
    refused: int = 0
    lost: int = 0
    tracebacks: int = 0

    def report(self) -> str:
        """The counts on a line."""
        return (
            f"{self.name}: {self.tried} writes, {self.refused} refused, {self.lost} lost, "
            f"{self.tracebacks} tracebacks"
        )

    @property
    def clean(self) -> bool:
        """Whether all went well."""
        return not (self.refused or self.lost or self.tracebacks)


def tag_until_told(path: Path, stop: Path) -> dict[str, Any]:
    """Tag and untag runs until the file ``stop`` is there; gives the counts and the last tags."""
    tried = refused = 0
    last: dict[int, str] = {}
    with Store(path) as store:
        while not stop.exists():
            ids = [row[0] for row in store.db.execute("SELECT id FROM runs LIMIT 200")]
            for run_id in ids[tried % 7 :: 7] or ids:
                tags = f"tag {tried}"
                tried += 1
                try:
                    if tried % 2:
                        store.tag({run_id: tags})
                    else:
                        store.annotate(run_id, tags=tags)
                    last[run_id] = tags
                except CrumpleError:
                    refused += 1
            time.sleep(_A_PERSON)  # the turn goes to whoever asks often enough
    return {"tried": tried, "refused": refused, "last": last}


class Tagger:
    """A process that tags meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path, self._stop = path, path.with_name("stop")
        command = (sys.executable, "-m", "tests.campaign.two_writers", "--tag")
        self._process = subprocess.Popen(
            [*command, str(path), str(self._stop)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def at_work(self) -> bool:
        """Whether it has tagged already, or ended."""
        with Store(self.path, readonly=True) as store:
            tagged = store.db.execute("SELECT count(*) FROM annotations").fetchone()[0]
        return bool(tagged) or self._process.poll() is not None

    def end(self, writes: Writes) -> None:
        """Let it end, and add up what it did and what is left of it."""
        self._stop.touch()
        out, errors = self._process.communicate(timeout=HANG)
        if self._process.returncode:
            writes.tracebacks += 1
            print(errors.decode(), file=sys.stderr)
            return
        told = json.loads(out)
        writes.tried += told["tried"]
        writes.refused += told["refused"]
        with Store(self.path, readonly=True) as store:
            rows = store.db.query("SELECT run_id, tags FROM annotations")
            stored = {str(row["run_id"]): row["tags"] for row in rows}
        writes.lost += sum(stored.get(run_id) != tags for run_id, tags in told["last"].items())


def run_study(study: Study, store: Writer) -> None:
    """Compute it."""
    summary = runner.run(study, store, lambda _: None, options=runner.Options(device="cpu"))
    if not summary.complete:
        raise CrumpleError(f"{study.name}: {summary}")


def store_study(study: Study, store: Writer) -> None:
    """Write what a study that is computed writes, without computing it."""
    for run_id in queue(store, study):
        store_run(store, run_id)


def store_run(store: Writer, run_id: int) -> None:
    """Write what a run that is computed writes."""
    store.start_run(run_id, 30)
    store.put_stage(f"stage of {run_id}", "variant", {"flags": []}, 0.1)
    store.keep_images(store.run(run_id)["data_key"], {"images": np.zeros((30, 1, 8, 8))})
    for start in (0, 10, 20):
        rows = [sample(index, index % 3 == 0) for index in range(start, start + 10)]
        index = 100 + np.arange(start, start + 10)
        kept = {"index": index, "adversarial": np.zeros((10, 1, 8, 8), np.float32)}
        batch = {"start": start, "size": 10, "seconds": 0.1, "telemetry": [], "notes": []}
        store.add_batch(run_id, batch, rows, kept)
    store.end_run(run_id, "finished", n=30, robust_accuracy=2 / 3, environment={"a": run_id})


def tags_beside_a_study(
    path: Path, enough: Enough, run: Callable[[Study, Writer], None] = run_study
) -> Writes:
    """Studies run here, one after the other, while the other process tags."""
    writes = Writes("tags against a running study")
    with Writer(path) as store:
        run(some_study(0), store)
        tagger = Tagger(path)
        until(tagger.at_work, "a tag")
        rounds = 1
        while not enough(rounds):
            _attempt(writes, run, some_study(rounds), store)
            rounds += 1
        tagger.end(writes)
        for number in range(rounds):
            rows = store.results(some_study(number).name)
            writes.lost += sum(row["status"] != "finished" for row in rows) + (len(rows) != 2)
            writes.lost += sum(len(store.samples(row["run_id"])) != row["n"] for row in rows)
    return writes


def some_study(number: int, **changes: Any) -> Study:
    """A study of two runs."""
    return small_study(name=f"study {number}", seed=number, **changes)


def _attempt(writes: Writes, write: Callable[..., object], *given: object) -> None:
    writes.tried += 1
    try:
        write(*given)
    except CrumpleError as error:
        writes.refused += 1
        print(f"{writes.name}: {error}", file=sys.stderr)
    except Exception:  # noqa: BLE001  that is what is looked for
        writes.tracebacks += 1
        traceback.print_exc()


def tags_beside_queueing(path: Path, enough: Enough, runs: int = 2448) -> Writes:
    """Large studies are queued here while the other process tags."""
    writes = Writes("tags against enqueue")
    with Writer(path) as store:
        queue(store, large_study("study 0", 0, runs))
        tagger = Tagger(path)
        until(tagger.at_work, "a tag")
        rounds = 1
        while not enough(rounds):
            _attempt(writes, queue, store, large_study(f"study {rounds}", rounds, runs))
            rounds += 1
        tagger.end(writes)
        counts = [row["runs"] for row in store.studies()]
        writes.lost += rounds * runs - sum(counts)
    return writes


def two_studies(path: Path, enough: Enough) -> Writes:
    """Two commands at once; the one that is told to wait tries again until it is let."""
    writes = Writes("two studies at once")
    rounds = 0
    while not enough(rounds):
        numbers = (2 * rounds, 2 * rounds + 1)
        started = [_command(path, number) for number in numbers]
        for number, process in zip(numbers, started, strict=True):
            while not _ended(writes, process):
                process = _command(path, number)
        rounds += 1
    with Store(path, readonly=True) as store:
        for number in range(2 * rounds):
            rows = store.results(some_study(number).name)
            writes.lost += sum(row["status"] != "finished" for row in rows) + (len(rows) != 2)
    return writes


def _command(path: Path, number: int) -> subprocess.Popen[str]:
    file = path.with_name(f"study {number}.toml")
    file.write_text(some_study(number).to_toml(), "utf-8")
    command = [sys.executable, "-P", "-m", "engine", "run", str(file), "--db", str(path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ended(writes: Writes, process: subprocess.Popen[str]) -> bool:
    """Whether a command did its study; if not, it has to say that it waits for the other."""
    _, told = process.communicate(timeout=HANG)
    if process.returncode and WAITS in told:
        return False
    writes.tried += 1
    writes.tracebacks += "Traceback" in told
    if process.returncode:
        writes.refused += 1
        print(told, file=sys.stderr)
    return True


SCENES: dict[str, Callable[[Path, Enough], Writes]] = {
    "study": tags_beside_a_study,
    "queue": tags_beside_queueing,
    "two": two_studies,
}


def _for(seconds: float) -> Enough:
    end = time.monotonic() + seconds
    return lambda rounds: rounds > 1 and time.monotonic() > end


def main() -> None:
    """Print the counts; exit 1 if a write was refused or lost, or anything crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.two_writers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tag", nargs=2, type=Path, metavar=("DB", "STOP"))
    options = parser.parse_args()
    if options.tag:
        print(json.dumps(tag_until_told(*options.tag)))
        return
    clean = True
    for scene in SCENES.values():
        with tempfile.TemporaryDirectory() as folder:
            writes = scene(Path(folder) / "lab.db", _for(options.seconds))
        print(writes.report(), flush=True)
        clean &= writes.clean
    sys.exit(not clean)


if __name__ == "__main__":
    main()
