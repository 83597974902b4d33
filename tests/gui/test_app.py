"""The program: options, the start without torch, and databases that cannot be used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QProgressDialog

from engine.errors import StoreError
from engine.host import paths
from engine.store import Store
from engine.store.database import is_outdated
from gui import __main__ as program
from gui import app as app_module
from gui.base import error_hooks
from gui.shell.main_window import MainWindow
from tests.helpers import kept_database
from tests.helpers.fresh_process import printed
from tests.helpers.patience import HANG

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", **variables},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log files outside the test."""
    monkeypatch.setattr(error_hooks, "start_log", lambda folder: None)


def test_the_window_needs_no_torch_and_draws_nothing_early() -> None:
    heavy = "torch torchvision torchattacks scipy sklearn matplotlib pyqtgraph"
    done = python(f"import gui.app, sys; print(set({heavy!r}.split()) & set(sys.modules))")
    assert done.stdout == "set()\n", done.stderr


def test_a_child_that_imports_the_main_module_imports_no_qt() -> None:
    code = "import gui.__main__, sys; print(any(m.startswith('PySide6') for m in sys.modules))"
    assert python(code).stdout == "False\n"


@pytest.mark.parametrize("page", ["new", "queue"])
def test_a_picture_of_a_page(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    file = tmp_path / "page.png"
    database = tmp_path / "a.db"
    status = app_module.main(
        [
            *("--db", str(database), "--page", page, "--screenshot", str(file)),
            *("--theme", "dark", "--study", str(paths.example_study())),
        ]
    )
    assert status == 0
    image = QImage(str(file))
    assert (image.width(), image.height()) == (1280, 720)
    for widget in qapp.topLevelWidgets():
        widget.deleteLater()


@pytest.mark.parametrize("kind", ["text", "folder", "damaged"])
def test_an_unusable_database_is_one_sentence(
    qapp: QApplication, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "bad.db"
    if kind == "folder":
        path.mkdir()
    else:
        head = b"SQLite format 3\x00" if kind == "damaged" else b""
        path.write_bytes(head + b"not a database" * 100)
    before = path.read_bytes() if path.is_file() else b""
    assert app_module.main(["--db", str(path), "--screenshot", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err.strip()
    assert str(path) in said
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert not (tmp_path / "x.png").exists()
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_in_the_window_another_database_can_be_chosen(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = tmp_path / "bad.db", tmp_path / "good.db"
    bad.write_text("not a database", "utf-8")
    asked: list[str] = []

    def choose(error: StoreError) -> Path | None:
        asked.append(error.message)
        return good if len(asked) == 2 else bad

    monkeypatch.setattr(app_module.QApplication, "platformName", lambda: "xcb")
    monkeypatch.setattr(app_module, "_ask_other", choose)
    store = app_module._open_store(bad, ask=True)
    assert store is not None
    assert store.path == good
    assert all(str(bad) in message for message in asked)
    store.close()
    monkeypatch.setattr(app_module, "_ask_other", lambda error: None)
    assert app_module._open_store(bad, ask=True) is None


def test_a_missing_system_library_is_named() -> None:
    code = (
        "import sys, types\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'PySide6.QtWidgets':\n"
        "            raise ImportError('libEGL.so.1: cannot open shared object file')\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from gui.__main__ import main\n"
        "sys.exit(main([]))\n"
    )
    done = python(code)
    assert done.returncode == 2
    assert program.QT_PACKAGES in done.stderr
    assert "libEGL.so.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_import_errors_keep_their_traceback() -> None:
    code = (
        "import sys\nsys.modules['gui.base.theme'] = None\n"
        "from gui.__main__ import main\nmain([])\n"
    )
    done = python(code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_control_c_in_the_terminal_ends_it_cleanly(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from engine.process import client\n"
        "class Quiet(client.EngineClient):\n"
        "    def start(self): print('started', flush=True)\n"
        "    def drain(self): return []\n"
        "    def close(self, timeout=5.0): print('closed', flush=True)\n"
        "client.EngineClient = Quiet\n"
        "from gui.app import main\n"
        f"sys.exit(main(['--db', {str(tmp_path / 'a.db')!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG)
    assert (process.returncode, out) == (0, "closed\n"), err
    assert "Traceback" not in err


def test_the_page_that_is_asked_for_wins_over_the_study(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[MainWindow] = []
    real = app_module._screenshot

    def noted(window: MainWindow, file: Path) -> int:
        seen.append(window)
        return real(window, file)

    monkeypatch.setattr(app_module, "_screenshot", noted)
    study = ("--study", str(paths.example_study()))
    picture = ("--screenshot", str(tmp_path / "page.png"))
    app_module.main(["--db", str(tmp_path / "a.db"), "--page", "queue", *study, *picture])
    assert seen[0].page_id == "queue"
    assert "20 runs" in seen[0]._new_page().count.text()
    for widget in qapp.topLevelWidgets():
        widget.deleteLater()


def test_pages_are_imported_beside_the_window_and_work(tmp_path: Path) -> None:
    """Whoever opens a page soon after the start waits for no library; nothing hangs at the end."""
    code = (
        "import sys, threading\n"
        "from PySide6.QtCore import QTimer\n"
        "from PySide6.QtWidgets import QApplication\n"
        "from gui import app\n"
        "from gui.pages import PAGES\n"
        "from gui.shell.main_window import MainWindow\n"
        "def look():\n"
        "    if any(thread.name == 'pages' for thread in threading.enumerate()):\n"
        "        return\n"
        "    timer.stop()\n"
        "    tops = QApplication.topLevelWidgets()\n"
        "    window = next(top for top in tops if isinstance(top, MainWindow))\n"
        "    missing = [p for p in PAGES if f'gui.pages.{p}.page' not in sys.modules]\n"
        "    for page in PAGES:\n"
        "        window.show_page(page)\n"
        "    print('missing', missing, 'seen', window.page_id)\n"
        "    window.may_close = True\n"
        "    window.close()\n"
        "def begin(self):\n"
        "    timer.start()\n"
        "    self.planning.starting = True\n"
        "app.QtEngineClient.start = begin\n"
        "if __name__ == '__main__':\n"
        "    qt = QApplication([])\n"
        "    timer = QTimer(interval=20)\n"
        "    timer.timeout.connect(look)\n"
        f"    sys.exit(app.main(['--db', {str(tmp_path / 'a.db')!r}]))\n"
    )
    assert printed(code, without=(), chosen={"QT_QPA_PLATFORM": "offscreen"}) == [
        "missing",
        "[]",
        "seen",
        "inspector",
    ]


def test_an_earlier_database_is_brought_up_in_sight_of_the_person(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.sqlite"
    shutil.copy(kept_database.FOLDER / "results.sqlite", path)
    seen, open_store = threading.Event(), app_module.Store
    begun: list[str] = []

    def slow(path: Path) -> Store:
        """Not open before somebody was told why that takes so long."""
        if threading.current_thread() is not threading.main_thread():
            begun.append("beside")
            assert seen.wait(HANG)
        return open_store(path)

    def look() -> None:
        boxes = [top for top in qapp.topLevelWidgets() if isinstance(top, QProgressDialog)]
        if any(box.isVisible() and path.name in box.labelText() for box in boxes):
            seen.set()

    timer = QTimer(interval=5)
    timer.timeout.connect(look)
    timer.start()
    monkeypatch.setattr(app_module, "Store", slow)
    for _ in range(2):
        store = app_module._open_store(path, ask=False)
        assert store is not None
        store.close()
    timer.stop()
    assert begun == ["beside"], "the second time there is nothing to do"
    assert not is_outdated(path)


def test_an_earlier_database_that_cannot_be_brought_up_is_refused_in_words(
    qapp: QApplication,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "results.sqlite"
    shutil.copy(kept_database.FOLDER / "results.sqlite", path)

    def refused(path: Path) -> Store:
        raise StoreError("There is no room left.")

    monkeypatch.setattr(app_module, "Store", refused)
    assert app_module._open_store(path, ask=False) is None
    assert "no room left" in capsys.readouterr().err
    assert is_outdated(path)
