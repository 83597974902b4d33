"""What the Live page draws of one run: its training, or its attack, in the same four places."""

from __future__ import annotations

from functools import cached_property

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QGridLayout, QHBoxLayout, QPushButton, QWidget

from gui.pages.live.charts import CurveChart, HistoryChart, LossChart
from gui.pages.live.state import LiveState, figures, training_figures
from gui.pages.live.training_charts import EpochChart, accuracy_chart, loss_chart, rate_chart
from gui.pages.live.training_state import Training
from gui.widgets.figures_panel import FiguresPanel
from gui.widgets.plots import Plot, card

TRAINING, ATTACK = "training", "attack"
_FIGURES = {
    "robust": "Robust accuracy",
    "clean": "Clean accuracy",
    "images": "Images",
    "speed": "Speed",
    "left": "Time left",
    "phase": "Now",
    "evidence": "Evidence",
}
_TRAINING_FIGURES = {
    "robust": "Robust validation",
    "clean": "Clean validation",
    "segment": "Training",
    "epoch": "Epoch",
    "loss": "Loss",
    "rate": "Learning rate",
    "left": "Left in the step",
    "phase": "Now",
}


class ViewSwitch(QWidget):
    """Two buttons, one of them down.

    Signals:
        chosen: a person wants ``TRAINING`` or ``ATTACK``.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self._group = QButtonGroup(self)
        self.buttons = {TRAINING: QPushButton("Training"), ATTACK: QPushButton("Attack")}
        tips = ("How the steps of the recipe were trained.", "How the attack breaks the variant.")
        for (view, button), tip in zip(self.buttons.items(), tips, strict=True):
            button.setCheckable(True)
            button.setToolTip(tip)
            self._group.addButton(button)
            row.addWidget(button)
            button.clicked.connect(lambda _on, view=view: self.chosen.emit(view))

    def show_view(self, view: str) -> None:
        """Press the button of a view."""
        self.buttons[view].setChecked(True)


class LiveBoard(QWidget):
    """A large chart, its figures, and two small charts.

    While a step trains its training is shown, and the attack once it has begun; a person can
    switch, and that holds until the run moves from one to the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curve, self.history, self.loss = CurveChart(), HistoryChart(), LossChart()
        self.figures = FiguresPanel(_FIGURES, big="robust")
        self.switch = ViewSwitch()
        self.view = ATTACK
        self._due: tuple[int, str] | None = None
        self._parts: dict[str, list[QWidget]] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(8)
        for column, stretch in enumerate((3, 2)):
            self._grid.setColumnStretch(column, stretch)
        for row, stretch in enumerate((0, 5, 3)):
            self._grid.setRowStretch(row, stretch)
        self.switch.chosen.connect(self.show_view)
        self.show_view(ATTACK)

    # Charts take long to make, and many a run has no step that trains.

    @cached_property
    def accuracy(self) -> EpochChart:
        """Accuracy by epoch."""
        return accuracy_chart()

    @cached_property
    def rate(self) -> EpochChart:
        """Learning rate by epoch."""
        return rate_chart()

    @cached_property
    def training_loss(self) -> EpochChart:
        """Loss by epoch."""
        return loss_chart()

    @cached_property
    def training_figures(self) -> FiguresPanel:
        """The figures of the training."""
        return FiguresPanel(_TRAINING_FIGURES, big="robust")

    def _make(self, view: str) -> list[QWidget]:
        if view == ATTACK:
            plots, panel = (self.curve, self.history, self.loss), self.figures
        else:
            plots = self.accuracy, self.rate, self.training_loss
            panel = self.training_figures
        cards = [card(plot) for plot in plots]
        # What is hidden takes no room, so two widgets can share a place.
        self._grid.addWidget(cards[0], 0, 0, 2, 1)
        self._grid.addWidget(panel, 0, 1, Qt.AlignmentFlag.AlignTop)
        self._grid.addWidget(cards[1], 1, 1)
        self._grid.addWidget(cards[2], 2, 0, 1, 2)
        panel.setMinimumWidth(340)
        return [*cards, panel]

    def show_view(self, view: str) -> None:
        """Show the training or the attack."""
        self.view = view
        self.switch.show_view(view)
        if view not in self._parts:
            self._parts[view] = self._make(view)
        for name, parts in self._parts.items():
            for part in parts:
                part.setVisible(name == view)

    @property
    def shown(self) -> Plot:
        """The large chart that is seen."""
        return self.accuracy if self.view == TRAINING else self.curve

    def show_state(self, state: LiveState | None, *, trains: bool) -> None:
        """Draw a run as far as it has got.

        Args:
            state: of the run.
            trains: whether a step of its recipe trains.
        """
        training = state.training if state else Training()
        trains = trains or bool(training)
        self.switch.setVisible(trains)
        if state is not None:
            self._follow(state, trains)
        for chart in (self.curve, self.history, self.loss):
            chart.show_state(state)
        self.figures.tell(figures(state) if state else {})
        if trains or TRAINING in self._parts:
            for plot in (self.accuracy, self.rate, self.training_loss):
                plot.show_training(training)
            told = training_figures(training, state.phase) if state else {}
            self.training_figures.tell(told)

    def _follow(self, state: LiveState, trains: bool) -> None:
        due = state.run_id, TRAINING if trains and not state.curve else ATTACK
        if due != self._due:
            self._due = due
            self.show_view(due[1])
