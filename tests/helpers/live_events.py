"""Events of a run that a Live page follows."""

from __future__ import annotations

from engine import events
from tests.helpers.page_kit import PageHarness, Tell


def progress(run_id: int, steps: int = 5, done: int = 16, broken: int = 4) -> events.RunProgress:
    return events.RunProgress(
        run_id=run_id,
        done=done,
        total=60,
        broken=broken,
        seen=32,
        curve=tuple(1 - 0.1 * step for step in range(steps)),
        loss=tuple((step, 0.5 * step) for step in range(1, steps)),
        history=((8, 1), (done, broken)),
        seconds_left=65.0,
        images_per_second=12.5,
        active=9,
        share=0.5,
    )


def start(harness: PageHarness, tell: Tell) -> int:
    """The waiting run starts, in the database and in the events."""
    assert harness.results is not None
    run_id = harness.results.waiting
    harness.context.store.db.execute(
        "UPDATE runs SET status = 'running', started = '2999', total = 60 WHERE id = ?", (run_id,)
    )
    tell(
        harness.context,
        events.RunStarted(run_id=run_id, model="m", method="run", total=60, steps=20),
    )
    return run_id


def epoch_finished(
    run_id: int,
    number: int,
    of: int = 5,
    *,
    loss: float = 0.1,
    clean: float = 0.9,
    robust: float | None = None,
    learning_rate: float = 0.0,
    stage: str = "",
    step: str = "",
    place: int = 1,
    done: int | None = None,
    expected: int | None = None,
    seconds_left: float = 0.0,
) -> events.EpochFinished:
    """An epoch of a step that trains; unless said otherwise, of its only training."""
    epoch = events.Epoch(number, of, loss, clean, robust, stage, 1.0, learning_rate)
    at = events.RecipeEpoch(epoch, step, place, done or number, expected or of)
    return events.EpochFinished(run_id=run_id, at=at, seconds_left=seconds_left)
