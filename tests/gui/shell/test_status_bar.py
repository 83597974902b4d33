"""The status bar always tells what the engine does."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from engine import events
from gui.base.page_context import PageContext
from gui.base.words import duration
from gui.shell.main_window import MainWindow
from gui.shell.status_bar import StatusBar
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.live_events import epoch_finished
from tests.helpers.page_kit import Tell

STARTED = events.RunStarted(
    run_id=7, model="digits-resnet", method="none · pgd-40", total=300, done=60
)


@pytest.fixture
def window(qtbot: QtBot, context: PageContext) -> MainWindow:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0:00"), (59.6, "1:00"), (72, "1:12"), (7380, "2:03:00")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_run_from_start_to_end(
    window: MainWindow, context: PageContext, tell: Tell, engine: FakeEngineClient
) -> None:
    bar: StatusBar = window.status
    bar.set_starting()
    assert "starting" in bar.device.text()
    assert not bar.stop_button.isEnabled()
    tell(context, events.WorkerReady(pid=1, device="cpu", description="CPU, 2 cores"), STARTED)
    assert bar.device.text() == "CPU, 2 cores"
    assert bar.job.text() == "#7  Digits ResNet · none · pgd-40"
    assert bar.progress.text() == "60 / 300 images"
    step = events.RunProgress(
        run_id=7, done=150, total=300, broken=9, seen=150, curve=(), seconds_left=65, share=0.5
    )
    tell(context, step)
    assert bar.progress.value() == bar.progress.maximum() // 2
    assert bar.left.text() == "1:05 left"
    bar.stop_button.click()
    assert engine.calls == [("halt", None)]
    tell(context, events.RunCancelled(run_id=7))
    assert not bar.stop_button.isEnabled()
    assert not bar.progress.isVisible()


def test_no_time_is_promised_before_there_is_one(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    tell(context, STARTED)
    step = events.RunProgress(run_id=7, done=0, total=300, broken=0, seen=0, curve=(1.0,))
    tell(context, step)
    assert "left" not in window.status.left.text()


def test_a_check_after_the_attack_has_progress_and_time(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    bar = window.status
    done = events.RunProgress(
        run_id=7, done=300, total=300, broken=9, seen=300, curve=(), seconds_left=90, share=1.0
    )
    check = events.StageStarted(run_id=7, stage="check", detail="square 0.1")
    tell(context, STARTED, done, check)
    tell(context, events.CheckProgress(run_id=7, detail="square 0.1", share=0.25, seconds_left=65))
    assert bar.progress.value() == bar.progress.maximum() // 4
    assert bar.progress.text() == "check 25%"
    assert bar.left.text() == "1:05 left"
    assert "square 0.1" in bar.job.text()
    assert bar._run_left == 65, "of which the time of the queue is made"


def test_a_check_before_the_attack_has_progress_and_a_time_of_its_own(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    bar = window.status
    stage = events.StageStarted(run_id=7, stage="diagnostics")
    tell(context, STARTED, stage)
    gate = events.CheckProgress(
        run_id=7, detail="gradients", share=0.25, seconds_left=65, before=True
    )
    tell(context, gate)
    assert bar.progress.text() == "check 25%"
    assert bar.left.text() == "check: 1:05 left"
    assert "check of its gradients" in bar.job.text()
    assert bar._run_left is None, "the attack is to come, however long it takes"


def test_a_paused_queue_offers_to_go_on(
    qtbot: QtBot, full_context: PageContext, tell: Tell, engine: FakeEngineClient
) -> None:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.show()
    bar = window.status
    assert bar.job.text() == "paused: 1 run waiting"
    assert "1 waiting" in window.rail.buttons["queue"].accessibleName()
    bar.resume_button.click()
    assert engine.calls == [("pause", False)]
    tell(full_context, events.QueueChanged(paused=False))
    assert not bar.resume_button.isVisible()
    assert bar.job.text() == "1 run waiting"


def test_a_dead_worker_is_told(window: MainWindow, context: PageContext, tell: Tell) -> None:
    tell(context, STARTED, events.WorkerDied(reason="The worker process was killed.", run_id=7))
    assert window.status.device.text() == "restarting engine…"
    assert window.toast.isVisible()
    assert window.toast.message is not None
    assert "killed" in window.toast.message.text
    window.toast.clear()


def test_the_bar_moves_within_a_batch(window: MainWindow, context: PageContext, tell: Tell) -> None:
    started = events.RunStarted(run_id=7, model="one", method="pgd", total=100, steps=40)
    step = events.RunProgress(
        run_id=7, done=0, total=100, broken=0, seen=100, curve=(1.0,), share=0.5, part="apgd-t"
    )
    tell(context, started, step)
    assert window.status.job.text() == "#7  one · pgd: apgd-t"
    assert window.status.progress.value() == window.status.progress.maximum() // 2


def test_the_progress_of_the_queue_stands_beside_that_of_the_run(
    qtbot: QtBot, full_context: PageContext, tell: Tell
) -> None:
    window = MainWindow(full_context, "new")
    qtbot.addWidget(window)
    window.show()
    tell(full_context, STARTED)
    bar = window.status
    assert bar.overall.isVisible()
    assert bar.overall.text() == "19 / 20 runs"
    assert (bar.overall.value(), bar.overall.maximum()) == (19, 20)
    tell(full_context, events.RunCancelled(run_id=7))
    assert not bar.overall.isVisible()


def test_stopping_is_told_until_it_has_happened(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    epoch = epoch_finished(7, 2)
    tell(context, STARTED, epoch)
    assert window.status.left.text() != "stopping…"
    window.status.stop_button.click()
    tell(context, epoch)
    assert window.status.left.text() == "stopping…"
    assert not window.status.stop_button.isEnabled()
    step = events.RunProgress(
        run_id=7, done=150, total=300, broken=9, seen=150, curve=(1.0,), seconds_left=65
    )
    tell(context, step)
    assert window.status.left.text() == "stopping…"
    tell(context, events.RunCancelled(run_id=7), STARTED)
    assert window.status.stop_button.isEnabled()


def test_training_has_a_share_of_its_step_and_a_time_left(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    bar = window.status
    stage = events.StageStarted(run_id=7, stage="compression", detail="hydra 10%")
    where = {"stage": "fine-tune", "step": "hydra 10%", "done": 15, "expected": 20}
    epoch = epoch_finished(7, 5, 10, seconds_left=65, **where)
    tell(context, STARTED, stage)
    assert bar.job.text().endswith(": hydra 10%")
    tell(context, epoch)
    assert bar.progress.value() == bar.progress.maximum() * 3 // 4
    assert bar.progress.text() == "epoch 15 / 20"
    assert bar.left.text() == "training: 1:05 left"
    assert bar.job.text().endswith("hydra 10% · fine-tune")
    tell(context, events.StageStarted(run_id=7, stage="attack"))
    assert "hydra" not in bar.job.text()


def test_a_long_title_gives_way_to_the_time_left(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    window.resize(1024, 640)
    method = "hydra 10% + finetune trades 20ep, " * 5 + "pgd-40"
    epoch = epoch_finished(7, 2, seconds_left=4000, step="hydra")
    tell(
        context,
        events.RunStarted(run_id=7, model="digits-resnet-at", method=method, total=300),
        epoch,
    )
    bar = window.status
    bar.layout().activate()
    assert bar.left.width() >= bar.left.sizeHint().width()
    shown = bar.job.shown_text()
    assert len(shown) < len(bar.job.text())
    assert shown.startswith("#7  Digits")
    assert shown.endswith("hydra")


def test_the_running_run_bears_the_title_of_its_model(
    window: MainWindow, context: PageContext, tell: Tell
) -> None:
    tell(
        context, events.RunStarted(run_id=7, model="digits-resnet", method="none · pgd-40", total=3)
    )
    assert window.status.job.text() == "#7  Digits ResNet · none · pgd-40"
    tell(context, events.RunStarted(run_id=8, model="unknown", method="none · pgd-40", total=3))
    assert window.status.job.text() == "#8  unknown · none · pgd-40"
