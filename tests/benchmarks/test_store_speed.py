"""Seconds of the store with many runs, beside their goals: CPU of this process, printed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.store import Writer
from tests.benchmarks.large_store import fill, queue, study

pytestmark = pytest.mark.bench
RUNS = int(os.environ.get("CRUMPLE_BENCH_RUNS", "20000"))
_REPEATS = 4


def timed(what: str, goal: float, do: Callable[[], object]) -> None:
    begun = time.process_time()
    do()
    print(f"{what}: {time.process_time() - begun:.2f} s (goal {goal} s)")


def test_queueing_and_moving_among_many_runs(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    fill(path, RUNS)
    print(f"\n{RUNS} finished runs, {path.stat().st_size / RUNS / 1000:.1f} KB each")
    with Writer(path) as store:
        more = study("more", 99, 2448)
        ids: list[int] = []
        timed("queue 2,448 runs", 1.0, lambda: ids.extend(queue(store, more)))
        timed("queue them again", 1.0, lambda: queue(store, more))
        timed("move them to the front", 0.3, lambda: store.move(ids, to_front=True))
        timed("tag 1,000", 0.3, lambda: store.tag(dict.fromkeys(ids[:1000], "x")))
        timed("delete 1,000", 0.3, lambda: store.set_deleted(ids[:1000]))
        timed("bring them back", 0.3, lambda: store.set_deleted(ids[:1000], deleted=False))
        timed("all results", 1.0, store.results)
        for name in ("studies", "paces", "step_paces", "model_usage", "queue"):
            timed(name, 0.5, getattr(store, name))
    for format_, seconds, megabytes in (("csv", 1.5, 150), ("json", 5, 150), ("table", 8, 400)):
        _export(path, format_, seconds, megabytes)


_IN_A_PROCESS = """
import sys, resource
from engine.cli.main import main
main(["results", "--db", sys.argv[1], "--format", sys.argv[2]], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(used.ru_utime + used.ru_stime, lines["VmHWM"].split()[0], file=sys.stderr)
"""


def _export(path: Path, format_: str, seconds: float, megabytes: float) -> None:
    """``crumple results`` in a process of its own, its start included: the least of several.

    With compiled modules, as an installed program has them; the first run, which compiles, counts
    no more than the others.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(path.parent / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = []
    for _ in range(_REPEATS):
        with (path.parent / format_).open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-P", "-c", _IN_A_PROCESS, str(path), format_],
                env=environment,
                stdout=out,
                stderr=subprocess.PIPE,
                check=True,
            )
        told.append(tuple(map(float, done.stderr.split())))
    cpu, peak = min(told)
    print(
        f"crumple results {format_}: {cpu:.2f} s (goal {seconds} s), "
        f"{peak / 1000:.0f} MB (goal {megabytes} MB)"
    )
