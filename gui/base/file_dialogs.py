"""Asking for files; the one place that opens file dialogs, so that tests can answer them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

STUDIES = "Study files (*.toml)"
DATABASES = "Crumple databases (*.db);;All files (*)"
ARCHIVES = "NumPy archives (*.npz)"
CHECKPOINT_ENDINGS = (
    *(".pt", ".pth", ".th", ".t7", ".tar", ".ckpt", ".bin", ".onnx", ".safetensors"),
    *(".pt2", ".py"),
)
_PATTERNS = " ".join(f"*{ending}" for ending in CHECKPOINT_ENDINGS)
CHECKPOINTS = f"Checkpoints and exported programs ({_PATTERNS});;All files (*)"


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
