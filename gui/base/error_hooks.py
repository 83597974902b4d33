"""Nothing is lost: uncaught errors and crashes go to the log, and errors to the window."""

from __future__ import annotations

import faulthandler
import logging
import logging.handlers
import sys
import threading
import traceback
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TextIO

import platformdirs
from PySide6.QtCore import QObject, Signal

from engine.errors import CrumpleError
from gui.base import file_dialogs

_log = logging.getLogger(__name__)
_LOG_BYTES = 1_000_000
_crash_file: TextIO | None = None
_last = ""


class _Reporter(QObject):
    """Carries errors of any thread to the thread of the window."""

    failed = Signal(str, str)
    refused = Signal(object)


@cache
def reporter() -> _Reporter:
    """Tells of uncaught errors.

    Its signal ``failed`` gives one sentence and the traceback; ``refused`` a ``CrumpleError``,
    which is no fault of the program and says itself what to do.
    """
    return _Reporter()


def log_folder() -> Path:
    """Where the log files lie."""
    return Path(platformdirs.user_log_dir("crumple", appauthor=False))


def open_log_folder() -> None:
    """Show the log files in the system's file manager."""
    file_dialogs.show_folder(log_folder())


def start_log(folder: Path) -> None:
    """Write the log and the stack of a crash to files; without a writable folder do neither."""
    global _crash_file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            folder / "crumple.log", maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8"
        )
        _crash_file = (folder / "crash.log").open("a", encoding="utf-8")
    except OSError as error:
        _log.warning("no log is written to %s: %s", folder, error.strerror)
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    faulthandler.enable(_crash_file)


def install() -> None:
    """Take the hooks for uncaught errors; again after an import that took them away."""
    sys.excepthook = _report
    threading.excepthook = _report_thread
    sys.unraisablehook = _report_unraisable


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    global _last
    text = "".join(traceback.format_exception(kind, error, trace))
    fresh, _last = text != _last, text
    if fresh:  # a timer that fails would fill the log
        _log.error("uncaught error\n%s", text)
        sys.stderr.write(text)
    if isinstance(error, CrumpleError):
        reporter().refused.emit(error)
    elif fresh:  # and flicker
        reporter().failed.emit(f"Something went wrong: {kind.__name__}: {error}.", text)


def _report_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _report(args.exc_type, args.exc_value, args.exc_traceback)


def _report_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _report(args.exc_type, args.exc_value, args.exc_traceback)
