"""How fast the window opens, and how late its event loop is while a study runs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtWidgets import QApplication

from engine.events import Event, RunProgress
from engine.host import paths
from engine.process.client import EngineClient
from engine.specs.study import Study
from engine.store import Store
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.shell.main_window import MainWindow

SECONDS = 20


@pytest.mark.bench
def test_cold_start(tmp_path: Path) -> None:
    """From the shell to a painted, usable window, its picture written, and gone again."""
    command = [
        sys.executable,
        "-m",
        "gui",
        "--db",
        str(tmp_path / "context.db"),
        "--page",
        "new",
        "--screenshot",
        str(tmp_path / "window.png"),
    ]
    times = []
    for _ in range(6):  # the first one warms the disk cache and is not counted
        begun = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            stderr=subprocess.DEVNULL,
        )
        times.append(time.perf_counter() - begun)
    shown = ", ".join(f"{seconds:.2f}" for seconds in times[1:])
    print(f"\ncold start: median {statistics.median(times[1:]):.2f} s of {shown} (limit 1.5 s)")


@pytest.mark.bench
@pytest.mark.timeout(180)
def test_event_loop_delay_while_a_study_runs(tmp_path: Path, qapp: QApplication) -> None:
    """Delay of a 5 ms timer over 20 s, with the Live page drawing a real study."""
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "context.db")
    context = make_context(store, QtEngineClient(EngineClient(store.path)), settings)
    window = MainWindow(context, "live")
    window.show()
    progress = 0

    def count(event: Event) -> None:
        nonlocal progress
        progress += isinstance(event, RunProgress)

    context.client.happened.connect(count)
    context.client.start()
    context.client.submit(_busy_study())
    context.client.pause(False)
    _run_until(qapp, lambda: progress > 5, 60)
    progress = 0
    delays = _delays(qapp)
    window.close()
    context.close()
    p50, p99 = np.percentile(delays, [50, 99])
    print(
        f"\nevent loop delay over {SECONDS} s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"max {max(delays):.1f} ms (limit 30 ms at p99); {progress} progress events"
    )
    assert progress > 50, "the study was not running"


def _busy_study() -> Study:
    tables = Study.from_toml(paths.example_study()).to_dict()
    tables["attack"] = [{"name": "pgd", "eps": 0.15, "steps": 200}]
    return Study.from_dict(tables)


def _delays(app: QApplication) -> list[float]:
    delays: list[float] = []
    last = time.perf_counter()
    timer = QTimer(timerType=Qt.TimerType.PreciseTimer, interval=5)

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        delays.append(max(0.0, (now - last) * 1000 - 5))
        last = now

    timer.timeout.connect(tick)
    timer.start()
    QTimer.singleShot(SECONDS * 1000, app.quit)
    app.exec()
    timer.stop()
    return delays


def _run_until(app: QApplication, done: object, seconds: float) -> None:
    assert callable(done)
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "the engine did not start"
        app.processEvents()
