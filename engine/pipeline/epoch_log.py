"""The epochs of one step of a recipe: kept for its record, and told to whoever watches."""

from __future__ import annotations

from dataclasses import replace

from engine import catalog
from engine.specs.study import Step
from engine.store import Payload
from engine.training import Epoch, Watch


class EpochLog:
    """Stands between a step that trains and who watches it.

    Args:
        watch: is told of each epoch, with the step that it belongs to.
        step: that trains.
        place: of the step in its recipe, from 1.

    Attributes:
        rows: one an epoch, in order, of all trainings of the step; plain JSON.
    """

    def __init__(self, watch: Watch, step: Step, place: int) -> None:
        self._watch, self._step, self._place = watch, step, place
        entry = catalog.find("compressions", step.name)
        self._expected = entry.params.model_validate(step.params).training_epochs()
        self.rows: list[Payload] = []

    @property
    def watch(self) -> Watch:
        """What the step is given."""
        return Watch(self._tell, self._watch.should_stop)

    def _tell(self, epoch: Epoch) -> None:
        self.rows.append(
            {
                "stage": epoch.stage,
                "epoch": epoch.number,
                "epochs": epoch.of,
                "loss": epoch.loss,
                "clean": epoch.clean,
                "robust": epoch.robust,
                "learning_rate": epoch.learning_rate,
                "seconds": epoch.seconds,
            }
        )
        done = len(self.rows)
        self._watch.on_epoch(
            replace(
                epoch,
                step=self._step.label,
                place=self._place,
                step_done=done,
                step_epochs=max(self._expected, done + epoch.of - epoch.number),
            )
        )
