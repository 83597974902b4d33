"""Studies from start to end, in process: reuse, resume, failures, flags."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine import compression
from engine.data import load
from engine.diagnostics.view_choice import TWINS
from engine.errors import StoreError
from engine.events import (
    CheckProgress,
    Event,
    RunFailed,
    RunFinished,
    RunProgress,
    StageStarted,
    StudyQueued,
)
from engine.host import device
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.statistics.run_checks import run_checks
from engine.store import RESULT_COLUMNS, ResultRow, Writer
from tests.helpers.simulated_device import SimulatedDevice
from tests.helpers.studies import small_study

TIMES = {"seconds", "created", "finished"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Writer]:
    with Writer(tmp_path / "lab.db") as writer:
        yield writer


def run(store: Writer, study: Study, **options: object) -> list[Event]:
    events: list[Event] = []
    runner.run(study, store, events.append, options=Options(device="cpu", **options))
    return events


def run_until_first_batch(store: Writer, study: Study) -> None:
    seen: list[Event] = []
    runner.run(
        study,
        store,
        seen.append,
        lambda: any(isinstance(event, RunProgress) and event.done for event in seen),
        Options("cpu", batch_size=10),
    )


def numbers(rows: list[ResultRow]) -> list[ResultRow]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def test_a_study_fills_every_column_and_tells_its_story(store: Writer) -> None:
    events = run(store, small_study())
    rows = store.results("small")
    assert [row["compression"] for row in rows] == ["none", "magnitude 50%"]
    for row in rows:
        empty = {name for name in RESULT_COLUMNS if row[name] is None}
        assert not empty
        assert row["ci_low"] < row["robust_accuracy"] < row["ci_high"]
        assert row["n"] == 30
    assert rows[1]["achieved_sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert rows[1]["compression_rate"] > 1.5 > rows[0]["compression_rate"]
    assert rows[1]["transfer_n"] == 30
    kinds = [type(event).__name__ for event in events]
    assert kinds[0] == "StudyQueued"
    assert [kind for kind in kinds if kind != "StudyStage"][-1] == "StudyFinished"
    assert kinds.count("RunStarted") == kinds.count("RunFinished") == 2
    assert [e.curve[-1] for e in events if isinstance(e, RunProgress)][-1] == pytest.approx(
        rows[1]["robust_accuracy"]
    )


def test_what_the_checks_say_is_stored_with_the_run(store: Writer) -> None:
    run(store, small_study())
    for row in store.results():
        whole = store.run(row["run_id"])
        gate = store.stage(whole["checks"]["gate"])
        assert gate is not None
        assert store.checks(row["run_id"]) == run_checks(whole, gate["numbers"])
    said = [store.checks(row["run_id"]) for row in store.results()]
    assert {check.id: check.figure for check in said[0]}["chance"].endswith("% clean")
    store.db.execute("DELETE FROM stages")
    assert [store.checks(row["run_id"]) for row in store.results()] == said


def test_a_second_run_computes_nothing(store: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store, small_study())
    before = store.results()
    monkeypatch.setattr("engine.pipeline.search.run_attack", None)  # would raise if it were called
    events = run(store, small_study())
    assert [type(event).__name__ for event in events] == ["StudyQueued", "StudyFinished"]
    assert isinstance(events[0], StudyQueued)
    assert events[0].reused == 2
    assert store.results() == before


def test_the_gate_tells_how_far_it_is_before_the_attack(store: Writer) -> None:
    events = run(store, small_study(compression=[]))
    gate = [n for n, e in enumerate(events) if isinstance(e, CheckProgress) and e.before]
    stages = {e.stage: n for n, e in enumerate(events) if isinstance(e, StageStarted)}
    assert gate
    assert stages["diagnostics"] < min(gate)
    assert max(gate) < stages["attack"]


def test_another_attack_on_the_same_variant_compresses_nothing_again(store: Writer) -> None:
    run(store, small_study())
    more = small_study(name="more", attack=[{"name": "fgsm", "eps": 0.15}])
    events = run(store, more)
    stages = {event.stage for event in events if isinstance(event, StageStarted)}
    assert stages == {"attack", "check", "statistics"}


def test_results_do_not_depend_on_interruption_or_batch_size(store: Writer, tmp_path: Path) -> None:
    study = small_study(compression=[])
    run_until_first_batch(store, study)
    assert store.results()[0]["status"] == "cancelled"
    assert len(store.samples(1)) == 10
    run(store, study, batch_size=10)
    with Writer(tmp_path / "other.db") as other:
        run(other, study, batch_size=30)
        assert numbers(other.results()) == numbers(store.results())
        assert [
            {**s, "clean_confidence": 0, "adversarial_confidence": 0, "l2": 0, "linf": 0}
            for s in other.samples(1)
        ] == [
            {**s, "clean_confidence": 0, "adversarial_confidence": 0, "l2": 0, "linf": 0}
            for s in store.samples(1)
        ]


@pytest.mark.parametrize(
    ("kind", "shape", "images"),
    [
        ("cpu", (1, 8, 8), 500),
        ("cpu", (1, 28, 28), 391),
        ("cpu", (3, 32, 32), 100),
        ("cpu", (3, 224, 224), 16),
        ("meta", (3, 224, 224), 512),
    ],
)
def test_a_cpu_attacks_more_of_small_images_together(
    kind: str, shape: tuple[int, ...], images: int
) -> None:
    assert device.batch_size(torch.device(kind), shape) == images


def test_the_batch_size_that_was_used_is_kept_with_the_run(store: Writer) -> None:
    run(store, small_study(compression=[]))
    events = run(store, small_study(name="again", seed=1, compression=[]), batch_size=7)
    last = next(event.run_id for event in events if isinstance(event, RunFinished))
    sizes = [store.run(run_id)["environment"]["batch_size"] for run_id in (1, last)]
    assert sizes == [500, 7]


def test_without_resume_a_half_finished_run_starts_anew(store: Writer) -> None:
    study = small_study(compression=[])
    run_until_first_batch(store, study)
    assert len(store.samples(1)) == 10
    store.db.execute("UPDATE samples SET l2 = 99")
    run(store, study, batch_size=10, resume=False)
    assert max(row["l2"] for row in store.samples(1)) < 99


def test_a_run_that_fails_says_why_and_the_others_go_on(
    store: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(compression.METHODS, "magnitude", broken)
    events = run(store, small_study())
    assert [row["status"] for row in store.results()] == ["finished", "failed"]
    failure = next(event for event in events if isinstance(event, RunFailed))
    assert "ZeroDivisionError: a bug" in failure.message
    row = store.run(2)
    assert (row["reason"], row["stage"]) == (
        "ZeroDivisionError: a bug",
        "compression magnitude 50%",
    )
    assert row["message"] == f"digits-resnet-at · magnitude 50%, {row['stage']}: {row['reason']}"
    assert failure.message == row["message"]
    assert "def broken" in failure.traceback or "raise ZeroDivisionError" in failure.traceback


class NaiveRounding(nn.Module):
    """Rounds activations without a straight-through gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 8).round() / 8


@pytest.mark.parametrize("rescue", [False, True])
def test_rounding_without_straight_through_is_not_reported_as_robust(
    store: Writer, monkeypatch: pytest.MonkeyPatch, rescue: bool
) -> None:
    def naive(live: nn.Module, params: object, context: object) -> nn.Module:
        for module in list(live.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU):
                    setattr(module, name, nn.Sequential(child, NaiveRounding()))
        return live

    monkeypatch.setitem(compression.METHODS, "magnitude", naive)
    monkeypatch.setattr("engine.pipeline.variants.compression.save", lambda *_: None)
    study = small_study(
        model=[{"name": "digits-resnet"}],
        attack=[{"name": "pgd", "eps": 0.15, "steps": 10, "random_start": False}],
    )
    if not rescue:
        monkeypatch.setitem(TWINS, "straight-through", lambda view: view)
    run(store, study)
    base, masked = store.results()
    assert base["robust_accuracy"] < 0.3
    assert not base["flags"]
    if rescue:
        assert masked["robust_accuracy"] < 0.3
        told = {flag["id"]: flag["level"] for flag in masked["flags"]}
        # The stand-in for a step changes no weight, which is told of the step.
        steps = {id_ for id_, level in told.items() if level == "warning"}
        assert told.keys() - steps == {"straight-through-view", "false-robustness"}
        assert all("Step 1" in flag["text"] for flag in masked["flags"] if flag["id"] in steps)
        return
    assert masked["robust_accuracy"] > 0.8, "the trap: it looks robust"
    danger = {flag["id"] for flag in masked["flags"] if flag["level"] == "danger"}
    assert {"zero-gradient", "gradient-masking", "black-box-stronger"} <= danger
    assert masked["transfer_accuracy"] < 0.5
    assert masked["black_box_accuracy"] < masked["robust_accuracy"]


def test_average_perturbation_is_over_successful_examples_only(store: Writer) -> None:
    run(store, small_study(compression=[]))
    row, samples = store.results()[0], store.samples(1)
    found = [s["linf"] for s in samples if s["broken"] and s["clean_prediction"] == s["label"]]
    assert row["avg_perturbation_linf"] == pytest.approx(sum(found) / len(found))
    assert min(found) > 0


def test_everything_needed_to_repeat_a_run_is_stored(store: Writer) -> None:
    run(store, small_study(compression=[]))
    environment = store.run(1)["environment"]
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    for key in ("device", "precision", "data_fingerprint", "variant_fingerprint", "threads"):
        assert environment[key]
    assert json.loads(store.run_spec(1).model_dump_json())["attack"]["params"]["steps"] == 5


def test_the_stored_accounting_is_that_of_the_deployed_model(store: Writer) -> None:
    run(store, small_study())
    stored = store.variant(2)["accounting"]
    variant = compression.load(store.variant_folder(store.run(2)["variant_key"]))
    weights = [p for p in variant.deployed().parameters()]
    assert stored["nonzero_parameters"] == sum(int((w != 0).sum()) for w in weights)
    assert stored["file_bytes"] > 0
    assert math.isclose(stored["compression_rate"], stored["dense_bytes"] / stored["packed_bytes"])
    assert sum(layer["macs"] for layer in stored["layers"]) == stored["macs"]
    latency = store.variant(2)["latency"]
    assert [row["batch"] for row in latency] == [1, 64]
    assert all(row["milliseconds"] > 0 < row["base_milliseconds"] for row in latency)


def test_finished_events_carry_the_row(store: Writer) -> None:
    events = run(store, small_study(compression=[]))
    finished = next(event for event in events if isinstance(event, RunFinished))
    assert finished.result == store.results()[0]


def test_a_run_whose_data_changed_since_it_was_queued_takes_nothing_new(
    store: Writer, tmp_path: Path
) -> None:
    digits = load(DatasetSpec(name="digits", limit=30), 0)
    file = tmp_path / "own.npz"
    np.savez(file, x=digits.images.numpy(), y=digits.labels.numpy())
    study = small_study(dataset={"npz": str(file)}, compression=[])
    run_until_first_batch(store, study)
    before = store.samples(1)
    np.savez(file, x=1 - digits.images.numpy(), y=digits.labels.numpy())
    store.set_status([1], "waiting", ["cancelled"])
    events: list[Event] = []
    for resume in (True, False):
        again = runner.Runner(store, events.append, Options("cpu", resume=resume))
        again.execute(1, lambda: False)
    failures = [event for event in events if isinstance(event, RunFailed)]
    assert ["changed since this run was queued" in event.message for event in failures] == [
        True
    ] * 2
    assert store.samples(1) == before


@pytest.mark.parametrize(("queued", "now"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_run_is_done_at_the_precision_it_was_queued_with(
    store: Writer, queued: str, now: str
) -> None:
    """Whatever device and precision were chosen since; and that is what is stored of it."""
    runner.Runner(store, lambda _: None, Options("cpu", queued)).enqueue(quick_study())
    run(store, quick_study(), precision=now)
    runner.Runner(store, lambda _: None, Options("cpu", now)).execute(1, lambda: False)
    assert store.run(1)["environment"]["precision"] == queued
    assert store.run(2)["environment"]["precision"] == now


def quick_study() -> Study:
    attack = [{"name": "fgsm", "eps": 0.5}]
    return small_study(dataset={"name": "digits", "limit": 10}, compression=[], attack=attack)


def test_the_precision_stored_is_that_of_the_search_and_not_what_was_asked(
    store: Writer,
) -> None:
    attacks = [{"name": "fgsm", "eps": 0.5}, {"name": "deepfool", "steps": 2}]
    spec = small_study(dataset={"name": "digits", "limit": 10}, compression=[], attack=attacks)
    with SimulatedDevice(capability=(9, 0)):
        runner.run(spec, store, lambda _: None, options=Options())
    found = [store.run(number)["environment"] for number in (1, 2)]
    assert [(each["device"], each["precision"]) for each in found] == [
        ("cuda:0", "bf16"),
        ("cuda:0", "fp32"),
    ]


def test_a_deleted_variant_is_made_again(store: Writer) -> None:
    run(store, small_study())
    shutil.rmtree(store.artifacts / "variants")
    run(store, small_study(name="more", attack=[{"name": "fgsm", "eps": 0.1}]))
    assert {row["status"] for row in store.results("more")} == {"finished"}


def test_an_artifact_folder_that_cannot_be_written_is_no_fault_of_the_program(
    store: Writer,
) -> None:
    store.artifacts.touch()
    events = run(store, small_study(compression=[]))
    failure = next(event for event in events if isinstance(event, RunFailed))
    assert f"The folder {store.artifacts} cannot be made" in failure.message
    assert failure.hint.startswith("Move away what is in its place")


def test_a_baseline_without_images_is_not_called_unfinished(store: Writer) -> None:
    run(store, small_study(keep_images=0))
    (flag,) = [flag for flag in store.results()[1]["flags"] if flag["id"] == "no-transfer-check"]
    assert "keeps no images" in flag["text"]


def test_a_baseline_whose_images_are_damaged_stops_no_other_run(store: Writer) -> None:
    run(store, small_study(compression=[]))
    (file,) = (store.artifacts / "runs" / "1").iterdir()
    file.write_bytes(b"damaged")
    run(store, small_study())
    (flag,) = [flag for flag in store.results()[1]["flags"] if flag["id"] == "no-transfer-check"]
    assert str(file) in flag["text"]


def test_a_study_whose_database_disappears_does_not_end_well(store: Writer) -> None:
    def remove(event: Event) -> None:
        if isinstance(event, RunProgress):
            store.path.unlink(missing_ok=True)

    with pytest.raises(StoreError, match="deleted, moved or replaced"):
        runner.run(small_study(), store, remove, options=Options(device="cpu"))
