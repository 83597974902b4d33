"""CPU of the window's thread for a key in New with 2,448 planned runs, beside the goal; printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from engine.process.client import EngineClient
from engine.specs.study import Study
from engine.store import Store
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.new.page import NewPage
from tests.helpers.new_page import type_seed

pytestmark = pytest.mark.bench
GOAL = 16


def wanted() -> Study:
    """51 variants under 48 attacks."""
    return Study.from_dict(
        {
            "name": "big",
            "dataset": {"name": "digits", "limit": 100},
            "model": [{"name": "digits-resnet"}],
            "compression": [{"name": "magnitude", "sparsity": [i / 60 for i in range(1, 51)]}],
            "attack": [{"name": "pgd", "eps": [i / 100 for i in range(1, 49)]}],
        }
    )


def test_a_key_in_new(tmp_path: Path, qapp: QApplication) -> None:
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "lab.db")
    context = make_context(store, QtEngineClient(EngineClient(store.path)), settings)
    page = NewPage(context)
    page.resize(1280, 720)
    page.show()
    opening = [_cost(lambda: page.open(wanted())), _cost(QApplication.processEvents)]
    assert page.study is not None
    assert page.study.count() == 2448
    radii = page.attacks.block("pgd").findChildren(QLineEdit)[0]
    print(f"\na key in New with {page.study.count():,} runs (goal {GOAL} ms)")
    print(f"  the study opens in {opening[0]:.0f} ms and is painted in {opening[1]:.0f} ms")
    tell("the name", lambda: QTest.keyClick(page.data.name, "x"))
    tell("the seed", lambda: type_seed(page, str(int(page.data.seed.text()) + 1)))
    tell("the number of images", lambda: next_number(page))
    tell("an accuracy of the planner", lambda: next_accuracy(page))
    tell("a radius", lambda: QTest.keyClick(radii, "1"))
    page.close()
    context.close()


def next_number(page: NewPage) -> None:
    """One more image, about as many as ImageNet has: each number is a new one."""
    page.data.limit.setValue(max(page.data.limit.value(), 50_000) + 1)


def next_accuracy(page: NewPage) -> None:
    """Closer and closer to 38 %: ever more images are needed."""
    page.data.plan.planner.robust.setValue(page.data.plan.planner.robust.value() - 0.1)


def tell(what: str, key: Callable[[], object]) -> None:
    """Print what a key costs until everything is shown."""
    times = [_cost(lambda: (key(), QApplication.processEvents())) for _ in range(15)]
    print(f"  {what}: {statistics.median(times):.1f} ms, {max(times):.1f} at most")


def _cost(work: Callable[[], object]) -> float:
    """CPU milliseconds of this thread."""
    begun = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begun)
