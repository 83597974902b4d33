"""Started in a folder of anybody's files, no process of the program runs one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication
from pytestqt.qtbot import QtBot

from gui.bridge.download_process import download_arguments
from gui.bridge.engine_process import EngineProcess
from gui.bridge.import_process import import_arguments
from gui.bridge.picture_process import chart_arguments
from tests.helpers.patience import HANG
from tests.helpers.traps import NAMES, OURS, lay_traps

ROOT = Path(__file__).resolve().parent.parent
PLACES = {**os.environ, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"}


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=PLACES,
        capture_output=True,
        text=True,
        timeout=HANG,
    )


@pytest.fixture(scope="module")
def before_us(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """What ``python -m`` imports before the first line of any program; only -P guards these."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.py").write_text("import sys\nprint(*sys.modules)")
    return frozenset(python(folder, "-m", "probe").stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "engine", "list", "datasets"), "digits"),
        (("-m", "engine", "data", "--root", "."), "cifar10"),
        (("-m", "gui", "--help"), "crumple gui"),
        (("-m", "engine", "gui", "--help"), "Open the window"),
    ],
)
def test_python_m_imports_nothing_from_the_current_folder(
    arguments: tuple[str, ...], said: str, before_us: frozenset[str], tmp_path: Path
) -> None:
    sprung = lay_traps(tmp_path / "here", NAMES - before_us - {arguments[1]})
    done = python(tmp_path / "here", *arguments)
    assert not sprung.exists(), sprung.read_text()
    assert said in done.stdout, done.stderr


def test_with_safe_path_no_trap_at_all_is_sprung(tmp_path: Path) -> None:
    sprung = lay_traps(tmp_path / "here")
    done = python(tmp_path / "here", "-P", "-m", "engine", "list", "datasets")
    assert not sprung.exists(), sprung.read_text()
    assert "digits" in done.stdout, done.stderr


def test_the_traps_are_sprung_where_python_looks_there_first(tmp_path: Path) -> None:
    sprung = lay_traps(tmp_path / "here", OURS)
    python(tmp_path / "here", "-m", "engine", "--version")
    assert sprung.read_text() == "engine "


WORKER = """
import time
from pathlib import Path
from engine.process.client import EngineClient
from engine.events import WorkerDied, WorkerReady

client = EngineClient(Path("results.db"), device="cpu")
client.start()
end = time.monotonic() + 500
while time.monotonic() < end:
    for event in client.drain():
        if isinstance(event, WorkerReady | WorkerDied):
            print(type(event).__name__)
            end = 0
    time.sleep(0.02)
client.close()
"""


def test_the_worker_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    sprung = lay_traps(tmp_path / "here")
    done = python(tmp_path / "here", "-P", "-c", WORKER)
    assert not sprung.exists(), sprung.read_text()
    assert done.stdout.split() == ["WorkerReady"], done.stderr


class Ended(EngineProcess):
    """Nothing comes of it, so that it says why."""

    def _end(self, code: int | None) -> bool:
        return False


COMMANDS = {
    "chart": (chart_arguments(Path("none.db"), "pareto", [1], Path("x.svg")), "none.db"),
    "import": (import_arguments(["none.pth", "--dataset", "digits"]), "none.pth"),
    "download": (download_arguments("mnist", Path("file.txt")), "file.txt"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_of_the_window_import_nothing_from_the_current_folder(
    name: str, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, word = COMMANDS[name]
    sprung = lay_traps(tmp_path / "here")
    (tmp_path / "here" / "file.txt").write_text("no folder")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path / "here")
    command = Ended(arguments, QCoreApplication.instance())
    with qtbot.waitSignal(command.refused, timeout=HANG * 1000) as ended:
        command.start()
    assert not sprung.exists(), sprung.read_text()
    assert word in ended.args[0]  # it came as far as its own work


def test_the_settings_of_charts_are_not_those_of_the_current_folder(tmp_path: Path) -> None:
    lay_traps(tmp_path / "here", frozenset())
    code = (
        "import matplotlib\nfrom engine.report.figures import _style\n"
        "print(matplotlib.rcParams['text.usetex'])\n"
        "with _style(): print(matplotlib.rcParams['text.usetex'], matplotlib.rcParams['font.size'])"
    )
    assert python(tmp_path / "here", "-P", "-c", code).stdout.split() == ["True", "False", "7.0"]
