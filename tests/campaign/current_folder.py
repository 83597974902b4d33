"""Every way into the program, started where modules lie that are named like its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from engine.errors import CrumpleError
from tests.campaign.tally import Wrong, main
from tests.helpers.patience import HANG
from tests.helpers.traps import NAMES, lay_traps

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = (
    "from pathlib import Path\nfrom engine.process.client import EngineClient\nimport time\n"
    "c = EngineClient(Path('r.db'), device='cpu')\nc.start()\nseen = []\n"
    "while not seen: seen = c.drain(); time.sleep(.02)\nc.close()"
)
ENTRIES: dict[str, tuple[str, ...]] = {
    "list": ("-P", "-m", "engine", "list", "attacks"),
    "results": ("-P", "-m", "engine", "results", "--db", "none.db"),
    "chart": ("-P", "-m", "engine", "chart", "--kind", "bars", "--db", "none.db", "--out", "x.svg"),
    "data": ("-P", "-m", "engine", "data", "--root", "."),
    "import": ("-P", "-m", "engine", "import", "none.pth", "--dataset", "digits"),
    "run": ("-P", "-m", "engine", "run", "none.toml", "--db", "r.db"),
    "window": ("-P", "-m", "gui", "--help"),
    "console script": ("-P", "-c", "from engine.cli.main import main; main(['list', 'models'])"),
    "worker": ("-P", "-c", WORKER),
}


def attempt(rng: random.Random, folder: Path) -> str:
    """Start one; a sprung trap is a crash, and so is a traceback."""
    entry = rng.choice(list(ENTRIES))
    sprung = lay_traps(
        folder, frozenset(rng.sample(sorted(NAMES), rng.choice((5, 50, len(NAMES)))))
    )
    done = subprocess.run(
        [sys.executable, *ENTRIES[entry]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    if sprung.exists():
        raise Wrong(f"{entry}: ran {sprung.read_text()}")
    if "Traceback" in done.stderr:
        raise Wrong(f"{entry}: {done.stderr}")
    if done.returncode:
        raise CrumpleError(done.stderr.strip().splitlines()[-1])
    return entry


if __name__ == "__main__":
    main("current_folder", attempt, 20)
