"""CPU seconds from the command to the first frame, by page and size, beside the goal; printed.

With compiled modules, as an installed program has them: the first start, which compiles, is not
counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gui.pages import PAGES
from tests.benchmarks.large_store import fill

pytestmark = pytest.mark.bench
ROOT = Path(__file__).resolve().parents[2]
RUNS = int(os.environ.get("CRUMPLE_BENCH_RUNS", "20000"))
GOAL = 0.7

_START = """
import sys, time
from gui import __main__
def spent(window, file):
    from PySide6.QtCore import QEventLoop
    loop = QEventLoop()
    window.ready.connect(loop.quit)
    loop.exec()
    print(time.process_time())
    return 0
import gc
gc.disable()  # as __main__ does, which imports the rest
from gui import app
app._screenshot = spent
__main__.main(["--db", sys.argv[1], "--page", sys.argv[2], "--screenshot", "-"])
"""


def spent(database: Path, page: str, cache: Path) -> float:
    """CPU seconds of the process until its window has painted itself once."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPYCACHEPREFIX": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", _START, str(database), page],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.splitlines()[-1])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runs", [1000, RUNS])
def test_the_first_frame(tmp_path: Path, runs: int) -> None:
    database, cache = tmp_path / "lab.db", tmp_path / "compiled"
    fill(database, runs)
    print(f"\nfirst frame among {runs:,} runs, CPU seconds (goal {GOAL}):")
    for page in PAGES:
        times = sorted(spent(database, page, cache) for _ in range(6))[:5]
        print(f"  {page}: {times[0]:.2f} at least, {times[2]:.2f} in the middle")
