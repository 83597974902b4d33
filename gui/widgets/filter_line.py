"""The line in which runs are filtered, alike on every page."""

from __future__ import annotations

from gui.widgets.inputs import LineEdit
from gui.widgets.run_filter import HELP


class FilterLine(LineEdit):
    """Takes words and comparisons (see ``run_filter``)."""

    def __init__(self, example: str) -> None:
        super().__init__()
        self.setAccessibleName("Filter")
        self.setPlaceholderText(f"Filter, for example  {example}")
        self.setToolTip(HELP)
        self.setClearButtonEnabled(True)
