"""The choice of a study, kept up to date."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QSizePolicy, QWidget

from engine.store import Store
from gui.widgets.fill_box import fill_box


class StudyBox(QComboBox):
    """All studies, newest first, and "all studies".

    Signals:
        chosen: the person chose another study (see ``study``).
    """

    chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Study")
        self.setToolTip("Show the runs of one study only.")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(18)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.addItem("All studies", None)
        self.activated.connect(lambda _: self.chosen.emit())

    def study(self) -> str | None:
        """The name of the chosen study, None for all."""
        name = self.currentData()
        return str(name) if name else None

    def read(self, store: Store) -> None:
        """Fill in the studies; the choice stays."""
        names = store.study_names()
        before = self.study()
        fill_box(self, [("All studies", None), *((name, name) for name in names)])
        self.choose(before)

    def choose_newest(self) -> None:
        """Choose the study that was started last, without telling anybody."""
        self.setCurrentIndex(min(1, self.count() - 1))

    def choose(self, name: str | None) -> None:
        """Choose a study without telling anybody; an unknown one means all."""
        self.setCurrentIndex(max(0, self.findData(name)))
