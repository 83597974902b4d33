"""Training on the Live page: curves of all trainings, the way to the attack and back, the store."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt

from engine import events
from engine.specs.choices import make_attack, make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Run, Study
from engine.store import RunKeys, Writer
from engine.store.stage_keys import recipe_key
from gui.base import file_dialogs, theme
from gui.pages import page_class
from gui.pages.live.board import ATTACK, TRAINING
from gui.pages.live.training_state import Training, expected_epochs, of_records
from gui.pages.queue.queue_model import PROGRESS, TIME
from tests.helpers.live_events import epoch_finished, progress, start
from tests.helpers.page_kit import PageHarness, Tell

HYDRA, TUNE = "hydra 10%", "finetune trades 4ep"


def epoch(run_id: int, number: int, **changes: Any) -> events.EpochFinished:
    told: dict[str, Any] = {
        "of": 3,
        "loss": 1 / number,
        "clean": 0.9,
        "robust": 0.1 * number,
        "learning_rate": 0.1 / number,
        "seconds_left": 65.0,
        "step": HYDRA,
        "place": 1,
        "stage": "prune",
        "done": number,
        "expected": 7,
        **changes,
    }
    return epoch_finished(run_id, number, **told)


def hydra(run_id: int) -> list[events.Event]:
    """Three epochs of pruning, two of four of fine-tuning."""
    second: dict[str, Any] = {"stage": "fine-tune", "of": 4}
    return [
        events.StageStarted(run_id=run_id, stage="compression", detail=HYDRA),
        *(epoch(run_id, number) for number in (1, 2, 3)),
        *(epoch(run_id, number, done=3 + number, **second) for number in (1, 2)),
    ]


def shown(page: Any) -> dict[str, str]:
    return {key: label.text() for key, label in page.board.training_figures.values.items()}


def test_the_stages_of_a_step_follow_each_other_on_one_axis(
    harness: PageHarness, tell: Tell
) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, *hydra(run_id))
    page.draw()
    assert page.board.view == TRAINING
    chart = page.board.accuracy
    assert chart.isVisible()
    assert not page.board.curve.isVisible()
    x, y = chart.curves["robust"].getData()
    assert list(x) == [1, 2, 3, 4, 5]
    assert np.allclose(y, [0.1, 0.2, 0.3, 0.1, 0.2])
    assert list(chart.curves["robust"].opts["connect"]) == [1, 1, 0, 1, 0], "two trainings"
    assert list(page.board.training_loss.curves["loss"].getData()[1])[:2] == [1, 0.5]
    assert list(page.board.rate.curves["learning_rate"].getData()[1])[:2] == [0.1, 0.05]
    names = [(line.value(), line.label.toPlainText()) for line in chart.marks.lines]
    assert names == [(0, f"{HYDRA} · prune"), (3, f"{HYDRA} · fine-tune")]
    (low, high), _ = chart.viewRange()
    assert low <= 0
    assert 7 <= high < 8, "the axis ends where the step will"
    texts = shown(page)
    assert texts["epoch"] == "2 of 4, 5 of 7 of the step"
    assert texts["left"] == "1:05"
    assert (texts["clean"], texts["robust"]) == ("90.0 %", "20.0 %")


def test_clean_and_robust_differ_by_more_than_colour(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    tell(harness.context, *hydra(start(harness, tell)))
    page.draw()
    for mode in ("dark", "light"):
        theme.current().use(mode)
        clean, robust = (page.board.accuracy.curves[key].opts for key in ("clean", "robust"))
        assert clean["symbol"] != robust["symbol"]
        assert clean["pen"].style() != robust["pen"].style()
        assert clean["pen"].color() != robust["pen"].color()
        assert clean["pen"].widthF() == robust["pen"].widthF() == 1


def test_the_attack_takes_over_and_one_can_switch_back(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, *hydra(run_id))
    page.draw()
    switch = page.board.switch
    assert switch.isVisible()
    tell(harness.context, events.StageStarted(run_id=run_id, stage="attack"), progress(run_id, 5))
    page.draw()
    assert page.board.view == ATTACK
    assert page.board.curve.isVisible()
    harness.qtbot.mouseClick(switch.buttons[TRAINING], Qt.MouseButton.LeftButton)
    tell(harness.context, progress(run_id, 9))
    page.draw()
    assert page.board.view == TRAINING, "a choice holds while the attack goes on"
    assert len(page.board.accuracy.curves["clean"].getData()[0]) == 5
    assert shown(page)["left"] == "–", "nothing trains any more"


def test_a_run_without_training_has_no_switch(harness: PageHarness) -> None:
    page = harness.page("live")
    page.open(harness.run("digits-resnet", "none", "pgd"))
    page.draw()
    assert not page.board.switch.isVisible()
    assert page.board.view == ATTACK


def test_no_switch_is_seen_before_it_is_known_that_the_run_trains(harness: PageHarness) -> None:
    """Taken away with the first frame, it would move what stands beside it."""
    page: Any = page_class("live")(harness.context)
    harness.qtbot.addWidget(page)
    assert page.board.switch.isHidden()


def test_curves_survive_leaving_the_page_and_come_to_one_opened_late(
    harness: PageHarness, tell: Tell
) -> None:
    page = harness.page("live")
    run_id = start(harness, tell)
    tell(harness.context, *hydra(run_id)[:3])
    page.hide()
    tell(harness.context, *hydra(run_id)[3:])
    page.show()
    late = harness.page("live")
    for shown_page in (page, late):
        shown_page.draw()
        assert len(shown_page.board.accuracy.curves["clean"].getData()[0]) == 5
        assert shown_page.board.view == TRAINING
    tell(harness.context, events.RunFailed(run_id=run_id, message="Training diverged."))
    harness.context.store.db.execute("UPDATE runs SET status = 'failed' WHERE id = ?", (run_id,))
    harness.context.runs.refresh()
    page.draw()
    assert run_id not in page._states
    assert len(page.board.accuracy.curves["clean"].getData()[0]) == 5, "what failed was seen"


def test_epochs_that_come_again_after_an_interruption_are_not_counted_twice() -> None:
    epochs = [event for event in hydra(1) if isinstance(event, events.EpochFinished)]
    training = Training()
    for event in (*epochs, *epochs):
        training = training.after(event)
    assert [len(segment.epochs) for segment in training.segments] == [3, 2]
    assert training.span() == 7
    assert training.share == pytest.approx(5 / 7)


def rows(*stages: str) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "epoch": number,
            "epochs": 2,
            "loss": 0.5,
            "clean": 0.9,
            "robust": None,
            "learning_rate": 0.01,
            "seconds": 2.0,
        }
        for stage in stages
        for number in (1, 2)
    ]


def test_a_finished_run_shows_its_training_from_the_store(
    harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness.results is not None
    run_id = harness.results.flagged
    steps = [{"step": "magnitude 90%"}, {"step": HYDRA, "epochs": rows("prune", "fine-tune")}]
    with Writer(harness.results.path) as writer:
        key = writer.run(run_id)["variant_key"]
        writer.put_stage(key, "variant", {"steps": steps}, 0.1)
    page = harness.page("live")
    page.open(run_id)
    page.draw()
    assert page.board.view == ATTACK
    page.board.switch.buttons[TRAINING].click()
    page.draw()
    chart = page.board.accuracy
    assert list(chart.curves["clean"].getData()[0]) == [1, 2, 3, 4]
    assert chart.curves["robust"].getData()[0] is None, "clean training knows no attack"
    assert [at for at, _ in chart.marks.parts] == [0, 2]
    target = tmp_path / "epochs.csv"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page._export("CSV")
    with target.open() as file:
        written = list(csv.DictReader(file))
    assert [(row["stage"], row["epoch"]) for row in written] == [
        ("prune", "1"),
        ("prune", "2"),
        ("fine-tune", "1"),
        ("fine-tune", "2"),
    ]
    assert {row["clean_accuracy"] for row in written} == {"0.9"}


def test_steps_before_the_one_at_work_come_from_their_records(tmp_path: Path) -> None:
    recipe = (
        make_step({"name": "finetune", "epochs": 2}),
        make_step({"name": "magnitude", "sparsity": 0.5}),
        make_step({"name": "finetune", "epochs": 3}),
    )
    run = Run(
        dataset=DatasetSpec(name="digits"),
        model="digits-resnet",
        recipe=recipe,
        attack=make_attack("fgsm"),
    )
    study = Study.from_dict(
        {
            "name": "s",
            "dataset": {"name": "digits"},
            "model": [{"name": run.model}],
            "attack": [{"name": "fgsm"}],
        }
    )
    with Writer(tmp_path / "context.db") as writer:
        keys = RunKeys("run", "variant", "data")
        (run_id,) = writer.add_study(study, [(run, keys)]).run_ids
        assert writer.step_records(run_id) == []
        writer.put_stage(recipe_key("variant"), "recipe", {"steps": ["a", "b", "c"]}, 0.0)
        assert writer.step_records(run_id) == []
        writer.put_stage("a", "step", {"step": recipe[0].label, "epochs": rows("")}, 1.0)
        before = of_records(writer.step_records(run_id))
    live = Training().after(epoch(1, 1, place=3, step=recipe[2].label, stage="", expected=3))
    both = live.behind(before)
    assert [(segment.place, len(segment.epochs)) for segment in both.segments] == [(1, 2), (3, 1)]
    assert both.runs("clean") == (((1, 0.9), (2, 0.9)), ((3, 0.9),))
    assert both.span() == 2 + 3
    assert expected_epochs([step.model_dump() for step in recipe]) == 5


def test_the_queue_counts_epochs_while_a_run_trains(harness: PageHarness, tell: Tell) -> None:
    page = harness.page("queue")
    run_id = start(harness, tell)
    page._seen = None
    page.refresh()
    tell(harness.context, *hydra(run_id))
    place = next(p for p in range(page.model.rowCount()) if page.model.row(p)["run_id"] == run_id)

    def cell(column: int, role: Qt.ItemDataRole = Qt.ItemDataRole.DisplayRole) -> Any:
        return page.model.data(page.model.index(place, column), role)

    assert cell(PROGRESS) == "epoch 5 / 7"
    assert cell(PROGRESS, Qt.ItemDataRole.UserRole) == pytest.approx(5 / 7)
    assert cell(TIME) == "1:05 left"
    tell(harness.context, events.StageStarted(run_id=run_id, stage="attack"), progress(run_id))
    assert cell(PROGRESS) == "16 / 60"
