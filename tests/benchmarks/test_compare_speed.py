"""The Compare page with many runs: CPU of the window's thread beside the goals, printed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QApplication

from engine.store import Store
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages import page_class
from tests.benchmarks import compared_store, large_store
from tests.benchmarks.window_loop import WindowLoop
from tests.helpers.fakes import FakeEngineClient

pytestmark = pytest.mark.bench
RUNS = int(os.environ.get("CRUMPLE_BENCH_RUNS", "20000"))
PAIRS = 3 * RUNS // 2
FRAMES = 20


def pan(what: str, chart: Any, app: QApplication) -> None:
    """Move the view to and fro, a hundredth of its width a frame."""
    box = chart.plotItem.getViewBox()
    shift = box.viewRect().width() / 100
    frames = []
    for frame in range(FRAMES):
        box.translateBy(x=shift if frame % 2 else -shift, y=0)
        begun = time.thread_time()
        chart.viewport().repaint()
        app.processEvents()
        frames.append(time.thread_time() - begun)
    items = len(chart.plotItem.items)
    print(f"{what:36} {1000 * np.median(frames):4.0f} ms a frame (goal 33 ms), {items} items")


@pytest.fixture
def page(tmp_path: Path, qapp: QApplication) -> Iterator[Any]:
    path = tmp_path / "context.db"
    large_store.fill(path, RUNS)
    compared_store.fill_studies(path)
    compared_store.add_pairs(path, PAIRS)
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    context = make_context(Store(path), QtEngineClient(FakeEngineClient()), settings)
    made = page_class("compare")(context)
    made.resize(1180, 660)
    yield made
    made.close()
    context.close()


@pytest.mark.timeout(1800)
def test_compare_with_many_runs(page: Any, qapp: QApplication) -> None:
    print(f"\n{RUNS} runs and {PAIRS} pairs of other studies")
    loop, chart, feed = WindowLoop(qapp), page.tradeoff.chart, page.context.runs
    name_of, sizes, curves = compared_store.name_of, compared_store.SIZES, compared_store.CURVES

    def opens(name: str) -> Callable[[], None]:
        return lambda: page.open(name)

    def filtered(text: str) -> Callable[[], None]:
        return lambda: page.filter_line.set_now(text)

    def changes(run_id: int) -> None:
        """A run of what is drawn, seen until everything of it is."""
        version = feed.version
        compared_store.judge(page.context.store.path, run_id, version % 100 / 100)
        seen = page.context.client.rows_changed.emit
        loop.step("  a run changes", 0.02, seen, lambda: feed.version > version and page.settled())
        loop.rest("    and after it", 0.2)

    loop.step("Compare opens", 0.5, page.show, page.settled)
    for size in sizes:
        loop.step(f"study of {size} opens", 0.5, opens(name_of(size)), page.settled)
        loop.rest("  frames of it", 0.2)
        changes(page.drawn_runs()[7])
    pan("  panning with bars", chart, qapp)
    loop.step("  along eps", 0.5, lambda: page.tradeoff.x_box.setCurrentIndex(4), page.settled)
    pan("  panning with bars", chart, qapp)
    loop.step("  filter", 0.2, filtered("attack:fgsm robust>20"), page.settled)
    loop.step("  filter cleared", 0.2, filtered(""), page.settled)
    picked = page.drawn_runs()[77]
    loop.step("  a point picked", 0.016, lambda: chart.clicked.emit(picked), page.settled)
    tick = partial(page.tradeoff.series.item(0).setCheckState, Qt.CheckState.Unchecked)
    loop.step("  a series unticked", 0.05, tick, page.settled)
    loop.step(f"{curves} curves", 0.5, opens(f"{curves} curves"), page.settled)
    loop.step("  as curves", 0.5, partial(page.switch.button(1).setChecked, True), page.settled)
    pan("  panning", page.security.chart, qapp)
    changes(page.drawn_runs()[-1])  # a point: the others have distances, and no share
    page.switch.button(2).setChecked(True)
    loop.step("Transfer of a study of 40", 0.2, opens(name_of(sizes[0])), page.settled)
    changes(page.drawn_runs()[7])
    loop.step("  filter", 0.05, filtered("attack:pgd"), page.settled)
