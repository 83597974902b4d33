"""What the Live page draws of one run: its training, or its attack, in the same four places."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QWidget,
)

from gui.pages.live.state import Earlier, LiveState, figures, training_figures
from gui.pages.live.training_state import Training
from gui.widgets.card import Card
from gui.widgets.figures_panel import FiguresPanel

if TYPE_CHECKING:  # pyqtgraph takes long to import, and comes with the first chart
    from gui.pages.live.charts import CurveChart, HistoryChart, LossChart
    from gui.pages.live.training_charts import EpochChart
    from gui.widgets.plots import Plot

P = TypeVar("P", bound="Plot")

TRAINING, ATTACK = "training", "attack"
_CHARTS = {
    ATTACK: ("curve", "history", "loss"),
    TRAINING: ("accuracy", "rate", "training_loss"),
}
"""The charts of a view: the large one, the one beside it, and the one below."""
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

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self._group = QButtonGroup(self)
        self.buttons = {view: QPushButton(view.capitalize(), self) for view in (TRAINING, ATTACK)}
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

    Charts take longer to make than a frame may take. Each is made when it is asked for, or by one
    of the next frames once it is in sight.

    Args:
        switch: stands beside the board.
    """

    def __init__(self, switch: ViewSwitch, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.figures = FiguresPanel(_FIGURES, "robust", self)
        self.switch = switch
        self.switch.hide()  # until it is known that the run trains
        self.view = ATTACK
        self._state: LiveState | None = None
        self._name, self._behind = "", tuple[Earlier, ...]()
        self._due: tuple[int, str] | None = None
        self._cards = {name: Card(self) for names in _CHARTS.values() for name in names}
        for one in self._cards.values():
            one.hide()  # until its view is shown
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

    @cached_property
    def curve(self) -> CurveChart:
        """Robust accuracy by attack step."""
        from gui.pages.live.charts import CurveChart

        return self._placed("curve", CurveChart())

    @cached_property
    def history(self) -> HistoryChart:
        """Robust accuracy by images done."""
        from gui.pages.live.charts import HistoryChart

        return self._placed("history", HistoryChart())

    @cached_property
    def loss(self) -> LossChart:
        """Loss by attack step."""
        from gui.pages.live.charts import LossChart

        return self._placed("loss", LossChart())

    @cached_property
    def accuracy(self) -> EpochChart:
        """Accuracy by epoch."""
        from gui.pages.live.training_charts import accuracy_chart

        return self._placed("accuracy", accuracy_chart())

    @cached_property
    def rate(self) -> EpochChart:
        """Learning rate by epoch."""
        from gui.pages.live.training_charts import rate_chart

        return self._placed("rate", rate_chart())

    @cached_property
    def training_loss(self) -> EpochChart:
        """Loss by epoch."""
        from gui.pages.live.training_charts import loss_chart

        return self._placed("training_loss", loss_chart())

    @cached_property
    def training_figures(self) -> FiguresPanel:
        """The figures of the training."""
        return FiguresPanel(_TRAINING_FIGURES, "robust", self)

    def _placed(self, name: str, chart: P) -> P:
        """A chart that was just made, in its card, with what is known of the run."""
        self._cards[name].hold(chart)
        self._draw(name, chart)
        return chart

    def _lay_out(self, view: str) -> list[QWidget]:
        cards = [self._cards[name] for name in _CHARTS[view]]
        panel = self.figures if view == ATTACK else self.training_figures
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
            self._parts[view] = self._lay_out(view)
        for name, parts in self._parts.items():
            for part in parts:
                part.setVisible(name == view)

    @property
    def shown(self) -> Plot:
        """The large chart that is seen."""
        return self.accuracy if self.view == TRAINING else self.curve

    def show_state(
        self, state: LiveState | None, name: str, behind: Sequence[Earlier], *, trains: bool
    ) -> bool:
        """Draw a run as far as it has got.

        Args:
            state: of the run.
            name: what its curve is called.
            behind: earlier runs drawn behind it.
            trains: whether a step of its recipe trains.

        Returns:
            Whether a chart in sight is still to be made.
        """
        self._state, self._name, self._behind = state, name, tuple(behind)
        training = state.training if state else Training()
        trains = trains or bool(training)
        self.switch.setVisible(trains)
        if state is not None:
            self._follow(state, trains)
        for made in (name for names in _CHARTS.values() for name in names if name in vars(self)):
            self._draw(made, getattr(self, made))
        self.figures.tell(figures(state) if state else {})
        if TRAINING in self._parts:
            told = training_figures(training, state.phase) if state else {}
            self.training_figures.tell(told)
        return self._make_one()

    def _make_one(self) -> bool:
        names = [name for name in _CHARTS[self.view] if name not in vars(self)]
        if not names or not self.isVisible():
            return False
        getattr(self, names[0])
        return len(names) > 1

    def _draw(self, name: str, chart: Plot) -> None:
        if name in _CHARTS[TRAINING]:
            chart.show_training(self._state.training if self._state else Training())
            return
        if name == "curve":
            chart.set_earlier(self._name, self._behind)
        chart.show_state(self._state)

    def _follow(self, state: LiveState, trains: bool) -> None:
        due = state.run_id, TRAINING if trains and not state.curve else ATTACK
        if due != self._due:
            self._due = due
            self.show_view(due[1])
