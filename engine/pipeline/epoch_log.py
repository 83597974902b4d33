"""The epochs of one step of a recipe: kept for its record, and told to whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine import catalog
from engine.events import Epoch, RecipeEpoch
from engine.specs.choices import Step
from engine.store import Payload
from engine.training import Watch


@dataclass(frozen=True)
class RecipeWatch:
    """Who is told of the trainings of a recipe, and may end them.

    Attributes:
        on_epoch: called after each epoch; after an interruption also for those done before.
        should_stop: asked before each batch.
    """

    on_epoch: Callable[[RecipeEpoch], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False


class EpochLog:
    """Stands between a step that trains and who watches its recipe.

    Args:
        watch: is told of each epoch, with the step that it belongs to.
        step: that trains.
        place: of the step in its recipe, from 1.

    Attributes:
        rows: one an epoch, in order, of all trainings of the step; plain JSON.
    """

    def __init__(self, watch: RecipeWatch, step: Step, place: int) -> None:
        self._watch, self._step, self._place = watch, step, place
        entry = catalog.find("compressions", step.name)
        self._expected = entry.params.model_validate(step.params).training_epochs()
        self.rows: list[Payload] = []

    @property
    def watch(self) -> Watch:
        """What the step is given."""
        return Watch(self._tell, self._watch.should_stop)

    def _tell(self, epoch: Epoch) -> None:
        self.rows.append(epoch.to_row())
        done = len(self.rows)
        expected = max(self._expected, done + epoch.of - epoch.number)
        told = RecipeEpoch(epoch, self._step.label, self._place, done, expected)
        self._watch.on_epoch(told)
