"""The transfer stage: what is counted, and that it is stored, reused, stopped and resumed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlite_utils import Database
from torch import nn

from engine import compression
from engine.errors import Cancelled
from engine.events import Event, RunFinished, StudyFinished, StudyStage
from engine.pipeline import runner, transfer_stage
from engine.pipeline.runner import Options, Runner
from engine.pipeline.transfer_stage import Transfer, count, misclassified
from engine.process.commands import Cancel, Pause, Shutdown
from engine.process.worker import _Worker
from engine.store import TRANSFER_COLUMNS, Pair, ResultRow, Store, Writer
from engine.store.schema import migrations
from tests.helpers.filled_store import fill
from tests.helpers.studies import small_study
from tests.helpers.worker_window import Window

STUDY = small_study(
    attack=[{"name": "pgd", "eps": 0.25, "steps": 4}, {"name": "fgsm", "eps": 0.25}],
    keep_images=20,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def run(store: Writer, **options: object) -> list[Event]:
    events: list[Event] = []
    runner.run(STUDY, store, events.append, options=Options(device="cpu", **options))
    return events


def test_every_kind_of_image_counts_where_it_should() -> None:
    kinds = np.array(list(itertools.product([False, True], repeat=4)))
    wrong, source_clean, source_broken, target_clean = kinds.T
    found = count(wrong, source_clean, source_broken, target_clean)
    # Of the 8 ways that the clean images and the attack can go, one is eligible.
    assert found == Transfer(kept=16, broken=8, n=2, fooled=1)


def test_an_output_that_is_not_finite_fools_nobody() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = images.flatten(1)[:, :3].clone()
            logits[1] = torch.nan
            return logits

    images = torch.tensor([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9], [0.9, 0.1, 0.1]])[:, :, None, None]
    labels = torch.tensor([0, 1, 0])  # the argmax of NaN is 0
    assert misclassified(Broken(), images, labels, 3, lambda: False).tolist() == [
        True,
        False,
        False,
    ]
    with pytest.raises(Cancelled):
        misclassified(Broken(), images, labels, 3, lambda: True)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_examples_are_judged_in_pieces_and_in_order(batch: int) -> None:
    images, labels = torch.eye(3)[:, :, None, None], torch.tensor([0, 2, 1])
    found = misclassified(nn.Flatten(), images, labels, batch, lambda: False)
    assert found.tolist() == [False, True, True]


def test_pairs_are_those_of_a_computation_by_hand(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_stage, "batch_size", lambda device, shape: 7)
    events = run(store)
    rows = {(row["source_run"], row["target_run"]): row for row in store.transfers("small")}
    assert set(rows) == {(1, 1), (1, 3), (3, 1), (3, 3), (2, 2), (2, 4), (4, 2), (4, 4)}
    for (source, target), row in rows.items():
        assert tuple(row) == (*TRANSFER_COLUMNS, "source_recipe", "target_recipe")
        assert row["status"] == "finished"
        folder = store.variant_folder(store.run(target)["variant_key"])
        model = compression.load(folder).deployed().eval()
        images = store.images(source)
        labels = np.array([one["label"] for one in store.samples(source)[:20]])
        with torch.no_grad():
            example = model(torch.from_numpy(images["adversarial"])).argmax(1).numpy()
            clean = model(torch.from_numpy(images["clean"])).argmax(1).numpy()
        own = np.array([one["clean_prediction"] for one in store.samples(source)[:20]])
        broken = np.array([one["broken"] for one in store.samples(source)[:20]])
        both = broken & (own == labels) & (clean == labels)
        assert (row["kept"], row["broken"]) == (20, int((example != labels).sum()))
        assert (row["n"], row["fooled"]) == (both.sum(), int((both & (example != labels)).sum()))
        assert row["n"] > 0
        assert row["rate_low"] <= row["transfer_rate"] <= row["rate_high"]
        if source == target:
            assert row["transfer_rate"] == 1
            assert row["accuracy"] == pytest.approx(1 - broken.mean())
    kinds = [type(event) for event in events]
    assert kinds.index(StudyStage) > kinds.index(StudyFinished) > kinds.index(RunFinished)
    stages = [event for event in events if isinstance(event, StudyStage)]
    assert [stage.done for stage in stages] == [0, 2, 4, 6, 8]
    assert [bool(stage.detail) for stage in stages] == [True] * 4 + [False]


def test_each_target_variant_is_loaded_once_and_nothing_is_judged_twice(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []
    load = compression.load
    monkeypatch.setattr(
        compression, "load", lambda folder: (loaded.append(folder), load(folder))[1]
    )
    run(store)
    # Each is loaded once for both of its attacks, whichever of them comes first.
    assert len(loaded) == len(set(loaded)) <= 2
    before = store.transfers()
    monkeypatch.setattr(transfer_stage, "misclassified", None)
    assert not [event for event in run(store) if isinstance(event, StudyStage)]
    assert store.transfers() == before


def test_a_pair_that_fails_is_stored_with_its_reason_and_tried_again(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = transfer_stage.misclassified

    def bad(model: nn.Module, examples: torch.Tensor, *rest: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("no such luck")
        return judge(model, examples, *rest)  # type: ignore[arg-type]

    calls: list[int] = []
    monkeypatch.setattr(transfer_stage, "misclassified", bad)
    events = run(store)
    assert any(isinstance(event, StudyFinished) and event.finished == 4 for event in events)
    statuses = [row["status"] for row in store.transfers()]
    assert sorted(statuses) == ["failed"] + ["finished"] * 7
    failed = next(row for row in store.transfers() if row["status"] == "failed")
    assert "no such luck" in failed["message"]
    assert failed["transfer_rate"] is failed["kept"] is None
    run(store)
    assert {row["status"] for row in store.transfers()} == {"finished"}
    assert len(calls) == 9


def test_a_pair_of_a_version_that_did_not_say_which_images_is_judged_again(store: Writer) -> None:
    run(store)
    before = store.transfers()
    store.db.execute("UPDATE transfers SET wrong = NULL WHERE source_run = 1")
    judged = [event.total for event in run(store) if isinstance(event, StudyStage)]
    assert set(judged) == {2}
    (missing,) = store.db.execute("SELECT count(*) FROM transfers WHERE wrong IS NULL").fetchone()
    assert not missing

    def counts(rows: list[ResultRow]) -> list[ResultRow]:
        return [{k: v for k, v in row.items() if k not in ("seconds", "finished")} for row in rows]

    assert counts(store.transfers()) == counts(before)


def test_what_was_stopped_continues_with_what_is_left(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, calls = transfer_stage.misclassified, []

    def counted(*parts: object) -> torch.Tensor:
        calls.append(1)
        return judge(*parts)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer_stage, "misclassified", counted)
    runner.run(STUDY, store, lambda _: None, lambda: len(calls) == 3, Options("cpu"))
    statuses = [row["status"] for row in store.transfers()]
    done = statuses.count("finished")
    assert 0 < done < 8
    assert statuses.count("waiting") == 8 - done
    calls.clear()
    run(store)
    assert len(calls) == 8 - done
    assert {row["status"] for row in store.transfers()} == {"finished"}


def test_pairs_that_kill_their_process_twice_fail(tmp_path: Path) -> None:
    fill(tmp_path / "lab.db")
    with Writer(tmp_path / "lab.db") as store:
        queue = store.transfer_queue
        pairs = [Pair(1, 1, "a"), Pair(1, 2, "b")]
        queue.plan(pairs)
        for expected in ("waiting", "failed"):
            queue.start(pairs[:1])
            store.recover()
            assert [row["status"] for row in store.transfers()] == [expected, "waiting"]
        assert "died" in store.transfers()[0]["message"]


def test_the_worker_resumes_pairs_and_stops_them_on_request(tmp_path: Path) -> None:
    with Writer(tmp_path / "lab.db") as store:
        runner.run(STUDY, store, lambda _: None, options=Options("cpu"))
        store.db.execute("UPDATE transfers SET status = 'waiting', kept = NULL, n = NULL")

        class Screen(Window):
            def send(self, event: Event) -> None:
                if isinstance(event, StudyStage):
                    self._coming.extend(self._later)
                    self._later = []

        window = Screen([Pause(False)], [Cancel((1,)), Shutdown()])
        _Worker(window, Runner(store, window.send, Options("cpu"))).loop()  # type: ignore[arg-type]
        assert {row["status"] for row in store.transfers()} == {"cancelled"}
        assert {row["status"] for row in store.results()} == {"finished"}
        store.db.execute("UPDATE transfers SET status = 'waiting'")
        window = Screen([Pause(False)], [Shutdown()])
        _Worker(window, Runner(store, window.send, Options("cpu"))).loop()  # type: ignore[arg-type]
        assert {row["status"] for row in store.transfers()} == {"waiting"}, "leaving is no cancel"


def test_deleted_runs_take_no_part(store: Writer) -> None:
    run(store)
    store.set_deleted([3])
    assert {row["source_run"] for row in store.transfers()} == {1, 2, 4}
    assert len(store.transfers()) == 5


def test_a_study_of_one_variant_or_without_images_has_no_pairs(store: Writer) -> None:
    for changes in ({"compression": []}, {"keep_images": 0}):
        study = small_study(attack=[{"name": "fgsm", "eps": 0.1}], **changes)
        runner.run(study, store, lambda _: None, options=Options("cpu"))
    assert store.transfers() == []


def test_a_database_of_an_earlier_version_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = Database(path)
    migrations.apply(old, stop_before="0003_transfers")
    old.execute("INSERT INTO studies (key, name, spec, created) VALUES ('k', 'old', '{}', 'then')")
    old.conn.commit()
    old.close()
    with Store(path, readonly=True) as store:
        assert store.transfers() == []
        assert "transfers" not in store.db.table_names()
    with Store(path) as store:
        assert "transfers" in store.db.table_names()
        assert store.transfers("old") == []
    with Writer(path) as store:
        store.transfer_queue.plan([])


def test_a_diagonal_below_one_is_flagged_on_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(model: nn.Module, examples: torch.Tensor, *rest: object) -> torch.Tensor:
        return torch.arange(len(examples)) % 2 == 0

    monkeypatch.setattr(transfer_stage, "misclassified", forgetful)
    store = Writer(tmp_path / "q.db")
    try:
        runner.run(small_study(), store, lambda event: None)
        flagged = {
            row["run_id"]: [flag["id"] for flag in store.run(row["run_id"])["flags"]]
            for row in store.results()
        }
        diagonal = [row for row in store.transfers() if row["source_run"] == row["target_run"]]
        assert any(row["fooled"] < row["n"] for row in diagonal)
        for row in diagonal:
            assert ("unrepeated" in flagged[row["source_run"]]) == (row["fooled"] < row["n"])
    finally:
        store.close()
