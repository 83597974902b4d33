"""The window over many runs: what each step costs its thread, beside the goal; printed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QSettings, Qt
from PySide6.QtWidgets import QApplication

from engine.store import Store
from gui.base import theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages import import_pages
from gui.pages.runs.page import RunsPage
from gui.pages.runs.run_columns import COLUMNS
from gui.shell.main_window import MainWindow
from tests.benchmarks.compared_store import SIZES, add_pairs, fill_studies, judge, name_of
from tests.benchmarks.large_store import fill
from tests.benchmarks.window_loop import WindowLoop
from tests.helpers.fakes import FakeEngineClient

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
RUNS = int(os.environ.get("CRUMPLE_BENCH_RUNS", "20000"))
PAIRS = RUNS * 3 // 2


def _fill(path: Path) -> None:
    fill(path, RUNS)
    fill_studies(path)
    add_pairs(path, PAIRS)


def _memory() -> int:
    """What this process takes now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _see_change(loop: WindowLoop, context: PageContext, page: str) -> None:
    """Another process writes, and the engine tells of it: of any run, and of one of the newest."""
    newest = int(context.runs.table.studies()[0].run_ids[1])
    for run_id, what in ((1 + context.runs.version, "a change"), (newest, "one of what is shown")):
        version = context.runs.version
        judge(context.store.path, run_id, version % 100 / 100)
        loop.step(
            f"{what} seen from {page}",
            0.02,
            context.client.rows_changed.emit,
            lambda version=version: context.runs.version > version,  # type: ignore[misc]
        )
        loop.rest("  and after it", 0.2)


def test_the_window_over_many_runs(tmp_path: Path, qapp: QApplication) -> None:
    # In a process of its own: what it leaves would be looked through by the window's collections.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(_fill, tmp_path / "lab.db").result()
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "lab.db")
    context = make_context(store, QtEngineClient(FakeEngineClient()), settings)
    loop = WindowLoop(qapp)
    print(f"\n{RUNS} runs and {PAIRS} pairs; CPU seconds of the window's thread")
    window = MainWindow(context, "new")
    window.show()
    import_pages()  # as beside the window of the program
    loop.step("New opens", 0.2, lambda: None)
    before = _memory()
    feed = context.runs
    loop.step("Runs opens", 0.2, lambda: window.show_page("runs"), lambda: feed.complete)
    page = window.page()
    assert isinstance(page, RunsPage)
    _runs_page(loop, context, page, window)
    for page_id in ("queue", "live", "inspector", "compare", "new"):
        loop.step(f"{page_id} opens", 0.5, partial(window.show_page, page_id))
        loop.rest(f"  frames of {page_id}")
        _see_change(loop, context, page_id)
    loop.step("Transfer opens, study of 40", 0.2, lambda: _transfer(window))
    loop.rest("  frames of Transfer")
    print(f"memory: +{(_memory() - before) / 1e6:.0f} MB (goal +150 MB)")
    blocks = np.array(loop.blocks) * 1000
    print(
        f"turns of the loop: p99 {np.percentile(blocks, 99):.0f} ms (goal 16 ms), "
        f"longest {blocks.max():.0f} ms (goal 50 ms)"
    )
    window.may_close = True
    window.close()
    context.close()


def _runs_page(loop: WindowLoop, context: PageContext, page: RunsPage, window: MainWindow) -> None:
    count, feed = len(context.runs.table), context.runs
    up = Qt.SortOrder.AscendingOrder
    for number, column in enumerate(COLUMNS):
        loop.step(f"sort by {column.id}", 0.2, partial(page.table.sortByColumn, number, up))
    for text in ("pgd", "attack=pgd robust>50", "robust>50", "none-of-them", "tags=a", ""):
        loop.step(f"filter {text!r}", 0.05, partial(page.filter_line.set_now, text))
    loop.step("select 1,000", 0.1, lambda: page.table.select(range(1, 1001)))
    loop.step("delete 1,000", 0.3, page._hide, lambda: len(feed.table) == count - 1000)
    loop.step("undo", 0.3, window.undo_stack.undo, lambda: len(feed.table) == count)
    loop.step("select all", 0.1, page.table.selectAll)
    _see_change(loop, context, "runs, all selected")
    page.table.clearSelection()
    _see_change(loop, context, "runs")


def _transfer(window: MainWindow) -> None:
    window.show_page("compare", name_of(SIZES[0]))
    window.page().switch.button(2).click()  # type: ignore[attr-defined]
