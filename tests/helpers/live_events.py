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
