"""What stands between the command and the first frame: counted, because time hangs on the day."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.patience import HANG

ROOT = Path(__file__).resolve().parents[2]

_START = """
import gc, json, sys
from gui import __main__, app
from PySide6.QtCore import QEventLoop

def report(window, file):
    loop = QEventLoop()
    window.ready.connect(loop.quit)
    loop.exec()
    from engine.catalog.entry import Params
    kinds = [Params]
    for kind in kinds:
        kinds += kind.__subclasses__()
    print(json.dumps({
        "modules": sorted(sys.modules),
        "models": len(kinds),
        "built": [kind.__name__ for kind in kinds if kind.__pydantic_complete__],
        "collects": gc.isenabled(),
    }))
    return 0

app.error_hooks.start_log = lambda folder: None
app._screenshot = report
__main__.main(["--db", sys.argv[1], "--page", sys.argv[2], "--screenshot", "x"])
"""

LATER = (
    "engine.importing",
    "filelock",
    "gui.library",
    "gui.shell.help_window",
    "matplotlib",
    "pyqtgraph",
    "scipy",
    "torch",
)
"""What no first frame needs."""


def started(page: str, folder: Path) -> dict[str, Any]:
    """What is there when the window has painted its first frame."""
    done = subprocess.run(
        [sys.executable, "-c", _START, str(folder / "lab.db"), page],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state: dict[str, Any] = json.loads(done.stdout)
    return state


@pytest.mark.parametrize("page", ["new", "runs", "live", "compare"])
def test_the_first_frame_builds_no_parameter_model(page: str, tmp_path: Path) -> None:
    state = started(page, tmp_path)
    assert state["models"] > 60, "the parameter models are looked for in the wrong place"
    assert state["built"] == []
    early = [name for name in state["modules"] if name.startswith(LATER)]
    assert early == []
    assert ("gui.pages.new.page" in state["modules"]) == (page == "new")
    assert state["collects"], "garbage would be kept for ever"
