"""Models that fail: the run ends with its reason, nothing half-done counts, the study goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import (
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunProgress,
    StudyFinished,
    WorkerDied,
)
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.study import Study
from engine.store import ResultRow, Store, Writer
from tests.helpers.engine_process import Watched, marked, study
from tests.helpers.failing_models import (
    ERRORS,
    HANGS,
    HEALTHY,
    TRICKS,
    install,
    install_in_workers,
)
from tests.helpers.patience import until

COMPUTED = ("n", "clean_accuracy", "robust_accuracy", "ci_low", "ci_high", "queries_per_sample")
VERDICT = ("index", "clean_prediction", "broken", "broken_at_step", "forwards", "backwards")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


@pytest.fixture
def _failing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def run(store: Writer, wanted: Study, **options: Any) -> list[Event]:
    events: list[Event] = []
    runner.run(wanted, store, events.append, options=Options("cpu", **options))
    return events


def verdicts(store: Store, run_id: int) -> list[ResultRow]:
    return [{name: row[name] for name in VERDICT} for row in store.samples(run_id)]


def check_failed(store: Store, run_id: int) -> ResultRow:
    """The row of a failed run; no result stands in it."""
    row = store.run(run_id)
    assert row["status"] == "failed"
    assert {row[name] for name in COMPUTED} == {None}
    assert not row["flags"]
    return row


def the_failure(events: list[Event], *words: str) -> RunFailed:
    """The only failure; after it the study was finished, and its message has these words."""
    (failure,) = [event for event in events if isinstance(event, RunFailed)]
    for word in words:
        assert word in failure.message
    assert isinstance(events[-1], StudyFinished)
    assert (events[-1].failed, events[-1].finished) == (1, 1)
    assert isinstance(events[-2], RunFinished)
    return failure


REFUSED = {
    "nan-all": "no finite output for any of 30 clean images",
    "one-class": "outputs of shape (30, 1)",
    "tuple": "returns a tuple of 2, not a tensor of logits",
    "image-shaped": "outputs of shape (30, 10, 1, 1)",
    "one-row": "outputs of shape (1, 10) for 30 images",
    "twice": "outputs of shape (60, 10) for 30 images",
    "classes-by-batch": "outputs of shape (30, 10) for 30 images and (1, 11) for one",
}


@pytest.mark.parametrize("trick", list(REFUSED))
@pytest.mark.usefixtures("_failing")
def test_outputs_that_are_no_logits_are_refused_at_the_gate(store: Writer, trick: str) -> None:
    events = run(store, study(trick, HEALTHY))
    failure = the_failure(events, f"{trick} · none, diagnostics", REFUSED[trick])
    assert not failure.traceback
    row = check_failed(store, failure.run_id)
    assert (row["message"], row["hint"]) == (failure.message, failure.hint)
    assert not store.samples(failure.run_id)


@pytest.mark.usefixtures("_failing")
def test_classes_that_are_never_predicted_are_a_note(store: Writer) -> None:
    run(store, study("masked"))
    (row,) = store.results()
    assert row["status"] == "finished"
    levels = {flag["id"]: flag["level"] for flag in row["flags"]}
    assert levels["masked-classes"] == "info"
    assert "nonfinite-output" not in levels


@pytest.mark.usefixtures("_failing")
def test_nan_on_some_images_is_flagged_and_touches_no_other_verdict(
    store: Writer, tmp_path: Path
) -> None:
    """The weights are those of the healthy model, so the other images fare as they do there."""
    marks = (3, 17)
    run(store, study("nan-some", HEALTHY, dataset=marked(tmp_path, 30, *marks)))
    row, other = store.results()
    assert row["status"] == other["status"] == "finished"
    assert {"nonfinite-output"} <= {f["id"] for f in row["flags"] if f["level"] == "danger"}
    assert not [flag for flag in other["flags"] if flag["id"] == "nonfinite-output"]
    own, healthy = store.samples(row["run_id"]), store.samples(other["run_id"])
    for place, (one, two) in enumerate(zip(own, healthy, strict=True)):
        if place in marks:
            assert (one["clean_prediction"], one["broken"], one["broken_at_step"]) == (-1, 1, 0)
        else:
            assert [one[name] for name in VERDICT] == [two[name] for name in VERDICT]
    assert row["robust_accuracy"] == sum(not one["broken"] for one in own) / 30


@pytest.mark.usefixtures("_failing")
def test_what_was_stored_before_a_model_failed_is_no_result_and_serves_a_retry(
    store: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = study("raise", HEALTHY, dataset=marked(tmp_path, 300, 280))
    words = ("raise · none, attack", "ValueError: this image is beyond me")
    failure = the_failure(run(store, wanted, batch_size=100), *words)
    assert "beyond me" in failure.traceback
    check_failed(store, failure.run_id)
    assert len(store.samples(failure.run_id)) == 200
    monkeypatch.setitem(TRICKS, "raise", lambda images, logits: logits)
    attacked: list[int] = []
    keep = runner.AttackStage._keep

    def note(stage: Any, run_id: int, images: Any, start: int, *args: Any) -> None:
        attacked.append(start)
        keep(stage, run_id, images, start, *args)

    monkeypatch.setattr(runner.AttackStage, "_keep", note)
    run(store, wanted, batch_size=100)
    assert attacked == [200]
    row, other = store.results()
    assert row["robust_accuracy"] == other["robust_accuracy"]
    assert store.run(row["run_id"])["message"] is None
    assert verdicts(store, row["run_id"]) == verdicts(store, other["run_id"])


@pytest.mark.parametrize("trick", ["late-one-row", "late-tuple"])
@pytest.mark.usefixtures("_failing")
def test_outputs_that_change_only_after_the_gate_give_no_verdicts(
    store: Writer, trick: str
) -> None:
    failure = the_failure(
        run(store, study(trick, HEALTHY), batch_size=7), f"{trick} · none, attack"
    )
    check_failed(store, failure.run_id)
    assert not store.samples(failure.run_id)


@pytest.mark.parametrize("error", list(ERRORS))
@pytest.mark.parametrize("attack", ["pgd", "deepfool", "torchattacks.PGD"])
@pytest.mark.usefixtures("_failing")
def test_memory_for_eight_images_is_enough(store: Writer, error: str, attack: str) -> None:
    spec = {"name": attack, "steps": 4, **({} if attack == "deepfool" else {"eps": 0.1})}
    run(store, study(f"hungry-{error}", HEALTHY, attack=[spec]))
    row, other = store.results()
    assert row["status"] == "finished"
    assert store.run(row["run_id"])["message"] is None
    if attack != "torchattacks.PGD":  # the library draws its noise for a whole batch
        assert verdicts(store, row["run_id"]) == verdicts(store, other["run_id"])
    assert row["clean_accuracy"] == other["clean_accuracy"]
    assert {flag["id"] for flag in row["flags"]} == {flag["id"] for flag in other["flags"]}


@pytest.mark.parametrize("error", list(ERRORS))
@pytest.mark.usefixtures("_failing")
def test_an_image_that_never_fits_ends_the_run_and_says_so(
    store: Writer, tmp_path: Path, error: str
) -> None:
    wanted = study(f"starved-{error}", HEALTHY, dataset=marked(tmp_path, 300, 280))
    words = (f"starved-{error} · none, attack", "ran out of memory")
    failure = the_failure(run(store, wanted, batch_size=100), *words)
    assert failure.traceback
    check_failed(store, failure.run_id)
    assert len(store.samples(failure.run_id)) == 280


@pytest.mark.parametrize("error", list(ERRORS))
@pytest.mark.usefixtures("_failing")
def test_a_model_that_fits_no_image_at_all(store: Writer, error: str) -> None:
    events = run(store, study(f"starving-{error}", HEALTHY))
    failure = the_failure(events, f"starving-{error} · none, accounting", "memory")
    check_failed(store, failure.run_id)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    install_in_workers(monkeypatch)
    monkeypatch.setenv(HANGS, str(tmp_path / "hangs"))
    watched = Watched(tmp_path / "lab.db")
    yield watched
    watched.client.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("models", "end"), [(("kill", HEALTHY), "signal 9"), ((HEALTHY, "exit"), "exit code 3")]
)
def test_a_model_that_ends_its_process_is_given_up_after_two_deaths(
    watched: Watched, tmp_path: Path, models: tuple[str, str], end: str
) -> None:
    """Whether it is the first or the last, the study goes on and is finished."""
    place = 1 - models.index(HEALTHY)
    run_ids = watched.go(study(*models, dataset=marked(tmp_path, 600, 580)))
    for _ in range(2):
        died = watched.wait(WorkerDied)
        assert died.run_id == run_ids[place]
        assert end in died.reason
    failure = watched.wait(RunFailed)
    for words in (f"{models[place]} · none", "attack", "died each time", end):
        assert words in failure.message
    finished = watched.wait(StudyFinished)
    assert (finished.finished, finished.failed) == (1, 1)
    with Store(watched.client.database, readonly=True) as store:
        row = check_failed(store, run_ids[place])
        assert (row["message"], row["hint"]) == (failure.message, failure.hint)
        assert store.result(run_ids[1 - place])["status"] == "finished"


@pytest.mark.slow
def test_a_model_that_hangs_can_be_cancelled_and_the_study_goes_on(
    watched: Watched, tmp_path: Path
) -> None:
    hung, healthy = watched.go(study("hang", HEALTHY, dataset=marked(tmp_path, 600, 580)))
    watched.wait(RunProgress)
    until((tmp_path / "hangs").exists, "the model to hang")
    watched.client.cancel([hung])
    died = watched.wait(WorkerDied)
    assert died.run_id == hung
    assert "hang · none" in died.reason
    assert watched.wait(RunCancelled).run_id == hung
    finished = watched.wait(StudyFinished)
    assert (finished.finished, finished.cancelled) == (1, 1)
    with Store(watched.client.database, readonly=True) as store:
        assert store.result(hung)["robust_accuracy"] is None
        assert store.result(healthy)["status"] == "finished"
