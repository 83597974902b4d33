"""The suite in a real window: starts an X server of its own and runs ``window_suite`` in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.patience import HANG

SUITE = Path(__file__).with_name("window_suite.py")


@pytest.mark.xvfb
@pytest.mark.slow
@pytest.mark.timeout(4 * HANG)
def test_the_whole_job_in_a_real_window(tmp_path: Path) -> None:
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        reason = "xvfb-run is not installed (Debian: apt-get install xvfb)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    command = [
        xvfb,
        "-a",
        "-s",
        "-screen 0 1440x900x24",
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tmp_path / 'inner'}",
        str(SUITE),
    ]
    environment = {**os.environ, "QT_QPA_PLATFORM": "xcb"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=4 * HANG - 60
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
