"""The program with a window: options, one context, the window, and a clean end."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import platformdirs
from PySide6.QtCore import QEventLoop, QSettings, QTimer
from PySide6.QtWidgets import QApplication, QMessageBox, QProgressDialog

from engine import catalog, extensions
from engine.errors import StoreError
from engine.host import paths
from engine.process.client import EngineClient
from engine.store import Store
from engine.store.artifacts import models_of
from engine.store.database import is_outdated
from gui.base import error_hooks, file_dialogs, theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from gui.pages import PAGES, import_pages
from gui.shell.main_window import USUAL, MainWindow
from gui.shell.queue_controller import DEVICE, PRECISION

_UNUSABLE = 2

_SETTLED_MS = 1000
"""After so long every page has drawn what is stored."""


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window; returns the exit status."""
    options = _parser().parse_args(argv)
    app = QApplication.instance() or QApplication(["crumple"])
    assert isinstance(app, QApplication)
    app.setApplicationName("crumple")
    app.setApplicationDisplayName("Crumple")
    error_hooks.start_log(error_hooks.log_folder())
    error_hooks.install()
    store = _open_store(options.db, ask=not options.screenshot, mode=options.theme or "system")
    if store is None:
        return _UNUSABLE
    catalog.use_library(models_of(store.path))
    extensions.activate(ask=False)  # the worker asks what was never asked
    settings = _settings(store.path)
    theme.install(app, settings, options.theme)
    device, precision = _place(settings, options.device)
    client = EngineClient(store.path, device=device, precision=precision)
    context = make_context(store, QtEngineClient(client), settings)
    try:
        return _run(app, context, options)
    finally:
        context.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crumple gui", description="Open the window.")
    parser.add_argument("--db", type=Path, metavar="FILE", help="database of the results")
    parser.add_argument("--page", choices=tuple(PAGES), default="", help="page to show first")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda:0 ...; this time only")
    parser.add_argument("--study", type=Path, metavar="FILE", help="study file to show in New")
    parser.add_argument("--theme", choices=theme.MODES, help="colours, this time only")
    parser.add_argument(
        "--screenshot", type=Path, metavar="FILE", help="write the page as PNG and end"
    )
    return parser


def _run(app: QApplication, context: PageContext, options: argparse.Namespace) -> int:
    window = MainWindow(context, options.page)
    window.status.device.set_choice(*_place(context.settings, options.device))
    error_hooks.reporter().failed.connect(window.report_bug)
    error_hooks.reporter().refused.connect(window.show_error)
    if options.study:
        window.load_study(options.study)
        if options.page:
            window.show_page(options.page)
    window.show()
    window.activateWindow()  # without a window manager nobody else gives it the keyboard
    window.ready.connect(_collect_garbage)
    if options.screenshot:
        return _screenshot(window, options.screenshot)
    # The worker's events wake the interpreter, so that Ctrl+C in a terminal is heard.
    signal.signal(signal.SIGINT, lambda *_: _leave(app, window))
    window.status.set_starting()
    window.ready.connect(context.client.start)
    # The libraries of the charts take long to import; whoever opens a page has them already.
    pages = threading.Thread(target=_import_pages, name="pages")
    window.ready.connect(pages.start)
    try:
        return app.exec()
    finally:
        if pages.ident is not None:
            pages.join()


def _import_pages() -> None:
    import_pages()
    gc.freeze()  # what was imported is not walked through either


def _collect_garbage() -> None:
    """From now on; what was imported stays for good and is not walked through each time."""
    gc.freeze()
    gc.enable()


def _leave(app: QApplication, window: MainWindow) -> None:
    """Ctrl+C in the terminal: nobody is there to answer a question."""
    window.may_close = True
    app.quit()


def _screenshot(window: MainWindow, file: Path) -> int:
    window.resize(USUAL)  # whatever room the screen has, which nobody looks at
    import_pages()  # else the charts would, while what is stored is drawn
    # Pages draw on their own timers, and read one curve a frame.
    loop = QEventLoop()  # quitting the application would take pyqtgraph down with it
    QTimer.singleShot(_SETTLED_MS, loop.quit)
    loop.exec()
    if window.grab().save(str(file), "PNG"):
        return 0
    sys.stderr.write(f"The picture {file} cannot be written.\n")
    return 1


def _settings(database: Path) -> QSettings:
    """Settings lie beside a database of one's own, else where the system keeps them."""
    if database == paths.default_database():
        file = Path(platformdirs.user_config_dir("crumple", appauthor=False)) / "crumple.ini"
    else:
        file = Path(f"{database}.ini")
    return QSettings(str(file), QSettings.Format.IniFormat)


def _place(settings: QSettings, device: str | None) -> tuple[str, str]:
    """Device and precision: what was asked for now, else what was chosen last."""
    return device or str(settings.value(DEVICE, "auto")), str(settings.value(PRECISION, "auto"))


def _open_store(path: Path | None, *, ask: bool, mode: str = "system") -> Store | None:
    """Open the database; where it cannot be used, say why and offer to choose another.

    Args:
        mode: the colours of the question, before there are settings.
    """
    path = path or paths.default_database()
    while True:
        try:
            if is_outdated(path):
                _bring_up(path, mode)
            return Store(path)
        except StoreError as error:
            if not ask or QApplication.platformName() in ("offscreen", "minimal"):
                sys.stderr.write(f"{error}\n")
                return None
            _colour(mode)
            chosen = _ask_other(error)
            if chosen is None:
                return None
            path = chosen


def _colour(mode: str) -> None:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    theme.install(app, QSettings(), mode)


def _bring_up(path: Path, mode: str) -> None:
    """Migrate a database of an earlier version, and say so while it lasts."""
    _colour(mode)
    words = f"{path.name} is of an earlier version and is being brought up to date…"
    box = QProgressDialog(words, "", 0, 0)
    box.setCancelButton(None)
    box.setWindowTitle("Crumple")
    box.setMinimumDuration(0)
    box.show()
    loop = QEventLoop()
    with ThreadPoolExecutor(1) as thread:
        opened = thread.submit(lambda: Store(path).close())
        timer = QTimer(interval=20)
        timer.timeout.connect(lambda: loop.quit() if opened.done() else None)
        timer.start()
        loop.exec()
    timer.stop()
    box.close()
    box.deleteLater()
    opened.result()


def _ask_other(error: StoreError) -> Path | None:
    box = QMessageBox(QMessageBox.Icon.Critical, "Crumple", error.message)
    box.setInformativeText(error.hint)
    other = box.addButton("Choose another file…", QMessageBox.ButtonRole.AcceptRole)
    box.addButton("Quit", QMessageBox.ButtonRole.RejectRole)
    box.exec()
    if box.clickedButton() is not other:
        return None
    return file_dialogs.ask_save(
        None, "Database of the results", file_dialogs.DATABASES, "crumple.db"
    )
