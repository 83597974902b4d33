"""Filling a choice again without disturbing who has it open."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QComboBox


def fill_box(box: QComboBox, entries: Sequence[tuple[str, object]]) -> None:
    """Give the box these texts and data, unless it has them already."""
    present = [(box.itemText(line), box.itemData(line)) for line in range(box.count())]
    if present != list(entries):
        box.clear()
        for text, data in entries:
            box.addItem(text, data)
