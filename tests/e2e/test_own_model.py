"""As a new user: from an own network and own pictures to a finished comparison chart.

The steps are those of ``docs/own-model.md``, by mouse and keyboard, with the real import
process and the real worker; only the screen is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtWidgets import QApplication, QLineEdit, QWidget
from pytestqt.qtbot import QtBot
from torch import nn

from engine import catalog, events
from engine.importing.source import export
from engine.process.client import EngineClient
from engine.store import Store
from engine.store.artifacts import models_of
from gui.base import theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages.compare.page import ComparePage
from gui.pages.new.page import NewPage
from gui.shell.main_window import MainWindow
from tests.helpers.checkpoints import ask, lively, pictures

_CONTROL, _SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
pytestmark = [
    pytest.mark.slow,
    pytest.mark.qt_log_ignore("does not support propagateSizeHints"),
]


@pytest.fixture
def window(tmp_path: Path, qtbot: QtBot, qapp: QApplication) -> Iterator[MainWindow]:
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "context.db")
    catalog.use_library(models_of(store.path))
    context = make_context(store, QtEngineClient(EngineClient(store.path)), settings)
    window = MainWindow(context, "new")
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    context.client.start()
    yield window
    window.close()
    context.close()
    window.deleteLater()
    qapp.processEvents()


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """``my-net.pt2`` and a folder of pictures that it is right about."""
    images = pictures(count=120, side=8)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)
    )
    lively(network, images)
    file, folder = tmp_path / "my-net.pt2", tmp_path / "pictures"
    file.write_bytes(export(network, (3, 8, 8), "net"))
    bytes_ = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for number, label in enumerate(ask(network, images).argmax(dim=1).tolist()):
        place = folder / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(bytes_[number]).save(place / f"{number}.png")
    return file, folder


def click(qtbot: QtBot, widget: QWidget) -> None:
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def fill(qtbot: QtBot, field: QLineEdit, text: str) -> None:
    click(qtbot, field)
    field.selectAll()
    qtbot.keyClicks(field, text)


def test_from_a_network_to_a_chart(
    qtbot: QtBot, window: MainWindow, own: tuple[Path, Path]
) -> None:
    file, folder = own
    _import(qtbot, window, file, folder)
    page = window.page()
    assert isinstance(page, NewPage)
    assert page.data.models["my-net"].isChecked()
    assert page.study is None, "an attack is missing, and the line below says so"
    assert "Tick at least one in the third column" in page.verdict.text()
    for column, name in (("compressions", "ptq"), ("attacks", "fgsm")):
        block = getattr(page, column).block(name)
        getattr(page, column).area.ensureWidgetVisible(block)
        tick = QPoint(8, block.box.height() // 2)
        qtbot.mouseClick(block.box, Qt.MouseButton.LeftButton, pos=tick)
    assert page.count.text() == "1 model × 2 variants × 1 attack = 2 runs"
    ended: list[events.StudyFinished] = []
    window.context.client.happened.connect(
        lambda one: ended.append(one) if isinstance(one, events.StudyFinished) else None
    )
    qtbot.keyClick(window, Qt.Key.Key_Return, _CONTROL)
    assert window.page_id == "live"
    qtbot.waitUntil(lambda: bool(ended))
    assert (ended[0].finished, ended[0].failed) == (2, 0)
    with qtbot.waitActive(window):  # without a window manager nobody gives the keyboard back
        window.activateWindow()
    qtbot.keyClick(window, Qt.Key.Key_5, _CONTROL)
    _read_the_chart(qtbot, window)


def _import(qtbot: QtBot, window: MainWindow, file: Path, folder: Path) -> None:
    qtbot.keyClick(window, Qt.Key.Key_O, _CONTROL | _SHIFT)
    dialog = window.models.dialog
    assert dialog is not None
    fill(qtbot, dialog.form.file, str(file))
    fill(qtbot, dialog.form.location.path, str(folder))
    click(qtbot, dialog.examine)
    qtbot.waitUntil(lambda: dialog.report is not None)
    assert dialog.view.verdict.text().startswith("Healthy: 100.0% of 120 images")
    with qtbot.waitActive(window):
        click(qtbot, dialog.study)
    assert window.page_id == "new"


def _read_the_chart(qtbot: QtBot, window: MainWindow) -> None:
    page = window.page()
    assert isinstance(page, ComparePage)
    qtbot.waitUntil(page.settled)
    rows = window.context.store.results()
    assert [row["model"] for row in rows] == ["my-net", "my-net"]
    assert rows[0]["clean_accuracy"] == 1.0
    assert sorted(page.view().drawn_runs()) == [row["run_id"] for row in rows]
    said = [one.texts() for one in page.table.model_.comparisons]
    for row, texts in zip(rows, said, strict=True):
        assert f"{100 * row['robust_accuracy']:.1f} [" in texts[4]
