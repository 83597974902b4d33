"""The window shows the device, offers those of the machine, and remembers the choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtGui import QAction
from pytestqt.qtbot import QtBot

from engine import events
from gui import app
from gui.base.page_context import PageContext
from gui.shell.main_window import MainWindow
from gui.shell.queue_controller import DEVICE, PRECISION
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.page_kit import Tell

FOUND = (("cpu", "cpu, 2 threads"), ("cuda:0", "cuda:0 One"), ("cuda:1", "cuda:1 Two"))


@pytest.fixture
def window(qtbot: QtBot, context: PageContext, tell: Tell) -> MainWindow:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.show()
    tell(
        context,
        events.WorkerReady(pid=1, device="cpu", description="cpu, 2 threads", devices=FOUND),
    )
    return window


def entries(window: MainWindow) -> dict[str, QAction]:
    return {action.text(): action for action in window.status.device.fill().actions()}


def checked(window: MainWindow) -> list[str]:
    return [text for text, action in entries(window).items() if action.isChecked()]


def test_what_was_found_is_offered_and_what_is_chosen_is_used_and_remembered(
    window: MainWindow, context: PageContext, engine: FakeEngineClient
) -> None:
    assert [text for text in entries(window) if text][:4] == [
        "Automatic device",
        *(text for _, text in FOUND),
    ]
    assert checked(window) == ["Automatic device", "Search: automatic precision"]
    entries(window)["cuda:1 Two"].trigger()
    assert engine.calls[-1] == ("use", ("cuda:1", "auto"))
    assert "starting" in window.status.device.text()
    entries(window)["Search in fp32"].trigger()
    assert engine.calls[-1] == ("use", ("cuda:1", "fp32"))
    assert checked(window) == ["cuda:1 Two", "Search in fp32"]
    assert app._place(context.settings, None) == ("cuda:1", "fp32")


def test_what_is_chosen_already_starts_nothing(
    window: MainWindow, engine: FakeEngineClient
) -> None:
    entries(window)["Automatic device"].trigger()
    assert not [call for call in engine.calls if call[0] == "use"]


def test_a_device_that_is_gone_is_named_and_another_can_be_chosen(
    window: MainWindow, context: PageContext, tell: Tell, engine: FakeEngineClient
) -> None:
    window.status.device.set_choice("cuda:7", "auto")
    tell(context, events.WorkerDied(reason="The device 'cuda:7' cannot be used.", final=True))
    assert window.status.device.text() == "engine is off"
    assert "cuda:7" in window.status.device.toolTip()
    assert window.toast.message is not None
    assert "another device" in window.toast.message.hint
    assert checked(window)[0] == "cuda:7 (not found)"
    entries(window)["cpu, 2 threads"].trigger()
    assert engine.calls[-1] == ("use", ("cpu", "auto"))


def test_an_option_counts_for_this_time_only(tmp_path: Path) -> None:
    settings = QSettings(str(tmp_path / "x.ini"), QSettings.Format.IniFormat)
    assert app._place(settings, None) == ("auto", "auto")
    settings.setValue(DEVICE, "cuda:1")
    settings.setValue(PRECISION, "bf16")
    assert app._place(settings, "cpu") == ("cpu", "bf16")
    assert app._place(settings, None) == ("cuda:1", "bf16")
    assert app._parser().parse_args(["--device", "cpu"]).device == "cpu"
