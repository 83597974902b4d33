"""What the other runs of a study make of one image."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem, QWidget

from engine.store import SampleRow
from engine.store.columns import TableRow
from gui.base import theme
from gui.base.model_names import model_title
from gui.bridge.results_thread import ResultsThread
from gui.pages.inspector.kept_images import KeptImages, prediction, verdict
from gui.widgets.tables import set_up_table

_HEADS = ("Run", "Model", "Compression", "Prediction", "Verdict")
_WIDTHS = (48, 128, 128, 96, 128)
MOST_RUNS = 40
"""More would not be looked through."""


class SameImageTable(QTableWidget):
    """One row per other run under the same attack; samples are read one run at a time."""

    def __init__(self, results: ResultsThread, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_HEADS), parent)
        self._results = results
        self._samples: dict[int, dict[int, SampleRow]] = {}
        self._runs: list[TableRow] = []
        self._image: tuple[KeptImages, int] | None = None
        self._waiting: deque[int] = deque()
        set_up_table(self, "The same image in the other runs", 24)
        self.setHorizontalHeaderLabels(_HEADS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        header = self.horizontalHeader()
        header.setStretchLastSection(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        theme.current().changed.connect(self._show)

    def set_runs(self, runs: Sequence[TableRow]) -> None:
        """The finished runs to look the image up in."""
        self._runs = list(runs[:MOST_RUNS])
        ids = [row["run_id"] for row in self._runs]
        self._samples = {id_: self._samples[id_] for id_ in ids if id_ in self._samples}
        self._waiting = deque(id_ for id_ in ids if id_ not in self._samples)
        self._read_next()
        self._show()

    def show_image(self, examples: KeptImages, index: int) -> None:
        """Look one image up."""
        self._image = (examples, index)
        self._show()

    def run_of(self, line: int) -> int:
        """The run that a line speaks of."""
        return int(self._runs[line]["run_id"])

    def _read_next(self) -> None:
        """One run after the other, so that another question need not wait for all."""
        if not self._waiting:
            return
        run_id = self._waiting[0]

        def take(samples: list[SampleRow]) -> None:
            self._samples[run_id] = {row["index"]: row for row in samples}
            if self._waiting and self._waiting[0] == run_id:
                self._waiting.popleft()
            self._show()
            self._read_next()

        self._results.ask(self, "samples", lambda store: store.samples(run_id), take)

    def _show(self) -> None:
        if self._image is None:
            return
        examples, position = self._image
        index = examples.samples[position]["index"]
        self.setRowCount(len(self._runs))
        for line, run in enumerate(self._runs):
            sample = self._samples.get(run["run_id"], {}).get(index)
            names = (str(run["run_id"]), model_title(run["model"]), run["compression"])
            self._fill(line, (*names, *_outcome(examples, sample)))

    def _fill(self, line: int, texts: Sequence[str]) -> None:
        for column, text in enumerate(texts):
            item = self.item(line, column)
            if item is None:
                item = QTableWidgetItem()
                self.setItem(line, column, item)
            item.setText(text)
            item.setToolTip(text)


def _outcome(examples: KeptImages, sample: SampleRow | None) -> tuple[str, str]:
    if sample is None:
        return "", ""
    return prediction(examples, sample, "adversarial"), verdict(sample)
