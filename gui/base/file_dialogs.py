"""Asking for files and showing folders; the one place, so that tests can answer for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog, QWidget

STUDIES = "Study files (*.toml)"
DATABASES = "Crumple databases (*.db);;All files (*)"
PYTHON = "Python files (*.py)"
ARCHIVES = "NumPy archives (*.npz)"
CHECKPOINT_ENDINGS = (
    *(".pt", ".pth", ".th", ".t7", ".tar", ".ckpt", ".bin", ".onnx", ".safetensors"),
    *(".pt2", ".py"),
)
CODE_ENDING = ".py"
_PATTERNS = " ".join(f"*{ending}" for ending in CHECKPOINT_ENDINGS)
CHECKPOINTS = f"Checkpoints and exported programs ({_PATTERNS});;All files (*)"


def is_code(path: Path) -> bool:
    """Whether a file is Python, by its name."""
    return path.suffix.lower() == CODE_ENDING


def weights_and_code(paths: Sequence[Path]) -> list[Path]:
    """One file; or two, of which the second is the Python file of a network; else none."""
    files = sorted(paths, key=is_code)
    pair = [is_code(one) for one in files] == [False, True]
    return files if pair or len(files) == 1 else []


def ask_open(parent: QWidget | None, title: str, kinds: str) -> Path | None:
    """An existing file, None if the person thought better of it."""
    name, _ = QFileDialog.getOpenFileName(parent, title, "", kinds)
    return Path(name) if name else None


def ask_save(parent: QWidget | None, title: str, kinds: str, suggestion: str) -> Path | None:
    """A file to write, None if the person thought better of it."""
    name, _ = QFileDialog.getSaveFileName(parent, title, suggestion, kinds)
    return Path(name) if name else None


def ask_folder(parent: QWidget | None, title: str) -> Path | None:
    """An existing folder, None if the person thought better of it."""
    name = QFileDialog.getExistingDirectory(parent, title)
    return Path(name) if name else None


def show_folder(folder: Path) -> None:
    """Show a folder in the system's file manager."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
