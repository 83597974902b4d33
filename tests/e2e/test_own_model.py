"""As a new user: from an own class, its weights and own pictures to a finished comparison chart.

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
from PySide6.QtWidgets import QApplication, QCheckBox, QLineEdit, QWidget
from pytestqt.qtbot import QtBot
from torch import nn

from engine import catalog, events
from engine.importing import foreign
from engine.importing.arguments import parse_arguments
from engine.process.client import EngineClient
from engine.safe_files.pictures import Cut, decode
from engine.store import Store
from engine.store.artifacts import models_of
from gui.base import file_dialogs, theme
from gui.base.page_context import make_context
from gui.bridge.engine_client import QtEngineClient
from gui.bridge.engine_process import FileProcess
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
def window(
    tmp_path: Path, qtbot: QtBot, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MainWindow]:
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "methods"))
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


CODE = """
import torch
from torch import nn

class Block(nn.Sequential):
    def __init__(self, before, after):
        super().__init__(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())

class Net(nn.Module):
    def __init__(self, width, *, classes=4):
        super().__init__()
        self.left, self.right = Block(3, width), Block(3, width)
        self.gate = nn.Parameter(torch.ones(2, width))
        self.fc = nn.Linear(36 * width, classes)

    def forward(self, images):
        left, right = (gate.view(1, -1, 1, 1) for gate in self.gate)
        return self.fc((self.left(images) * left + self.right(images) * right).flatten(1))
"""
SIDE, RESIZED = 8, 10


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Weights as they are saved, the file of their class, and pictures of different sizes."""
    code, file, folder = tmp_path / "net.py", tmp_path / "best.pth", tmp_path / "pictures"
    code.write_text(CODE)
    network = foreign.make(code, "Net", parse_arguments("width=6"))
    lively(network, pictures(count=60, side=SIDE))
    state = nn.DataParallel(network).state_dict()
    torch.save({"model": state, "epoch": 3}, file)
    for number in range(60):
        image = pictures(1, side=RESIZED + number % 7, seed=number)[0]
        path = tmp_path / f"{number}.png"
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(path)
        seen = torch.tensor(decode(path, "RGB", Cut(RESIZED, SIDE))) / 255
        place = folder / f"class{int(ask(network, seen[None]).argmax())}"
        place.mkdir(parents=True, exist_ok=True)
        path.rename(place / path.name)
    assert len(list(folder.iterdir())) == 4
    return file, code, folder


def click(qtbot: QtBot, widget: QWidget) -> None:
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def tick(qtbot: QtBot, box: QCheckBox) -> None:
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))


def fill(qtbot: QtBot, field: QLineEdit, text: str) -> None:
    click(qtbot, field)
    field.selectAll()
    qtbot.keyClicks(field, text)


def test_from_a_network_to_a_chart(
    qtbot: QtBot,
    window: MainWindow,
    own: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _import(qtbot, window, *own)
    page = window.page()
    assert isinstance(page, NewPage)
    assert page.data.models["best"].isChecked()
    assert page.data.cut.table() == {"resize": RESIZED, "crop": SIDE}
    assert page.study is None, "an attack is missing, and the line below says so"
    assert "Tick at least one in the third column" in page.verdict.text()
    for column, name in (("compressions", "magnitude"), ("attacks", "pgd")):
        block = getattr(page, column).block(name)
        getattr(page, column).area.ensureWidgetVisible(block)
        tick(qtbot, block.box)
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
    _export(qtbot, window, monkeypatch, tmp_path / "chart.svg")


def _import(qtbot: QtBot, window: MainWindow, file: Path, code: Path, folder: Path) -> None:
    qtbot.keyClick(window, Qt.Key.Key_O, _CONTROL | _SHIFT)
    dialog = window.models.dialog
    assert dialog is not None
    form = dialog.form
    fill(qtbot, form.file, str(file))
    fill(qtbot, form.location.path, str(folder))
    click(qtbot, dialog.examine)
    assert "differ in size" in dialog.message.accessibleName()
    for name, side in (("resize", RESIZED), ("crop", SIDE)):
        fill(qtbot, form.cut.boxes[name].lineEdit(), str(side))
    click(qtbot, dialog.examine)
    qtbot.waitUntil(lambda: not dialog.busy)
    assert "no known architecture" in dialog.message.accessibleName()
    fill(qtbot, form.code.path, str(code))
    assert form.code.name.currentText() == "Net"
    fill(qtbot, form.code.arguments, "width=5")
    tick(qtbot, form.code.trust)
    click(qtbot, dialog.examine)
    qtbot.waitUntil(lambda: not dialog.busy)
    assert "another shape" in dialog.message.accessibleName()
    assert dialog.misfits is not None
    assert form.code.arguments.hasFocus()
    assert not form.code.trust.isVisible(), "it was asked once"
    fill(qtbot, form.code.arguments, "width=6")
    click(qtbot, dialog.examine)
    qtbot.waitUntil(lambda: dialog.report is not None)
    assert dialog.view.verdict.text().startswith("Healthy: 100.0% of 60 images")
    with qtbot.waitActive(window):
        click(qtbot, dialog.study)
    assert window.page_id == "new"


def _read_the_chart(qtbot: QtBot, window: MainWindow) -> None:
    page = window.page()
    assert isinstance(page, ComparePage)
    qtbot.waitUntil(page.settled)
    rows = window.context.store.results()
    assert [row["model"] for row in rows] == ["best", "best"]
    assert rows[0]["clean_accuracy"] == 1.0
    assert sorted(page.view().drawn_runs()) == [row["run_id"] for row in rows]
    said = [one.texts() for one in page.table.model_.comparisons]
    for row, texts in zip(rows, said, strict=True):
        assert f"{100 * row['robust_accuracy']:.1f} [" in texts[4]


def _export(qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    page = window.page()
    assert isinstance(page, ComparePage)
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: out)
    page.export_menu.write_figure(".svg")
    qtbot.waitUntil(out.exists)
    qtbot.waitUntil(lambda: page.export_menu.findChild(FileProcess) is None)
    assert "<svg" in out.read_text("utf-8")
