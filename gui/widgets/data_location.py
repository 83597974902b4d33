"""Where the pictures of a study lie: a path, whether they are there, and the download."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QWidget,
)

from engine.catalog.datasets import FILES, ROOTED, missing_files
from engine.specs.dataset import usual_root
from gui.base import file_dialogs
from gui.base.offer_words import pace
from gui.bridge.download_process import DownloadProcess, download_arguments
from gui.bridge.pace import Pace
from gui.widgets.inputs import PathEdit
from gui.widgets.layouts import stack
from gui.widgets.note_line import NoteLine

OWN = ("folder", "npz")
_UNIT = 1024  # a progress bar counts in 32 bits
_TITLES = {
    "folder": "Folder with one directory per class, or with train/ and test/",
    "imagenet": "Folder that holds val/",
}


class DataLocation(QWidget):
    """The path of a dataset; below it what is missing there, and how to get it.

    Signals:
        changed: another path is named, or a download is over.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._kind = ""
        self._download: DownloadProcess | None = None
        self._coming, self._pace = "", Pace()
        self.path = PathEdit()
        self.path.setAccessibleName("Path of the images")
        self.choose = QPushButton("Choose…")
        self.note = NoteLine("Whether the dataset is there")
        self.button = QPushButton("Download")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress of the download")
        self.bar.hide()
        self._lay_out()
        self.path.textEdited.connect(lambda _text: self._path_changed())
        self.choose.clicked.connect(self._ask)
        self.button.clicked.connect(self._press)

    def _lay_out(self) -> None:
        first, last = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.path, 1)
        first.addWidget(self.choose)
        last.addWidget(self.bar, 1)
        last.addWidget(self.button)
        last.addStretch()
        stack(self, first, self.note, last)

    # -- what is asked for -----------------------------------------------------------------

    def put(self, kind: str, path: str) -> None:
        """Show the place of a dataset; published ones may leave it to the usual one."""
        with QSignalBlocker(self.path):
            self.path.setText(path)
        self.show_kind(kind)

    def show_kind(self, kind: str) -> None:
        """Another dataset is chosen."""
        self._kind = kind
        self.setVisible(kind in (*OWN, *ROOTED))
        hints = {"folder": "folder of pictures", "npz": "file.npz"}
        usual = str(usual_root(kind)) if kind in ROOTED else ""
        self.path.setPlaceholderText(usual or hints.get(kind, ""))
        self.path.setToolTip(f"Empty means {usual}" if usual else "")
        self.refresh()

    def table(self) -> dict[str, Any]:
        """What stands in the study file beside the name."""
        text = self.path.text().strip()
        if self._kind in OWN:
            return {self._kind: text}
        return {"root": text} if text and self._kind in ROOTED else {}

    def showEvent(self, event: QShowEvent) -> None:
        """The files may have come in the meantime."""
        super().showEvent(event)
        self.refresh()

    def _path_changed(self) -> None:
        self.refresh()
        self.changed.emit()

    def _ask(self) -> None:
        if self._kind == "npz":
            path = file_dialogs.ask_open(self, "NumPy archive", file_dialogs.ARCHIVES)
        else:
            path = file_dialogs.ask_folder(
                self, _TITLES.get(self._kind, "Folder that holds the dataset")
            )
        if path is not None:
            self.path.setText(str(path))
            self._path_changed()

    # -- what is there ---------------------------------------------------------------------

    def _root(self) -> Path:
        text = self.path.text().strip()
        try:
            return Path(text).expanduser() if text else usual_root(self._kind)
        except RuntimeError:  # an unknown home folder
            return Path(text)

    def refresh(self) -> None:
        """Say whether the files are there."""
        if self._download is not None:
            return
        missing = 0
        if self._kind in FILES:
            missing = self._tell_published()
        elif self._kind == "imagenet" and not os.path.isdir(self._root()):
            self.note.tell(
                f"There is no folder {self._root()}. ImageNet is fetched from image-net.org by "
                "hand; then choose the folder that holds val/.",
                "warning",
            )
        else:
            self.note.tell("")
        self.button.setVisible(bool(missing))

    def _tell_published(self) -> int:
        root = self._root()
        count, missing = _file_count(self._kind), len(missing_files(self._kind, root))
        if not missing:
            self.note.tell(f"All files are in {root}.")
        else:
            what = "Not there yet" if missing == count else f"{missing} of {count} files missing"
            text = f"{what}: choose the folder that holds the dataset, or download it to {root}."
            self.note.tell(text, "warning")
        return missing

    # -- the download ----------------------------------------------------------------------

    def _press(self) -> None:
        if self._download is not None:
            self._download.stop()
        else:
            self.start(download_arguments(self._kind, self._root()))

    @property
    def downloading(self) -> bool:
        """Whether a download is on its way."""
        return self._download is not None

    def start(self, arguments: list[str]) -> None:
        """Download with this command line and show how far it is."""
        self._coming, self._pace = self._kind, Pace()
        self._download = DownloadProcess(arguments, self)
        self._download.progress.connect(self._show_progress)
        self._download.finished.connect(lambda: self._end(""))
        self._download.refused.connect(lambda reason, _field: self._end(reason))
        self._tell_pace([])
        self.bar.setRange(0, 0)
        self.bar.setFormat("")
        self.bar.show()
        self.button.setText("Stop")
        self._download.start()

    def _show_progress(self, name: str, done: int, total: int) -> None:
        self.bar.setRange(0, total // _UNIT)
        self.bar.setValue(done // _UNIT)
        whole = f" of {total / 1e6:.0f}" if total else ""
        self.bar.setFormat(f"{done / 1e6:.0f}{whole} MB")
        self.bar.setToolTip(name)
        self._tell_pace(pace(done, total, self._pace.note(done, time.monotonic())))

    def _tell_pace(self, parts: Sequence[str]) -> None:
        what = ", ".join([f"Downloading {self._coming}", *parts])
        self.note.tell(f"{what}. Stopped, it goes on from there the next time.")

    def _end(self, reason: str) -> None:
        self._download = None
        self.bar.hide()
        self.button.setText("Download")
        self.refresh()
        if reason:
            self.note.tell(reason, "error")
        self.changed.emit()


def _file_count(name: str) -> int:
    return len(FILES[name].test) + len(FILES[name].training)
