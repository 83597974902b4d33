"""Runs a study: data, base model, compression, gate, attack, statistics, each stored.

The worker process of the window, the command line and the tests all come through here.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from engine import catalog, diagnostics
from engine.data import ImageSet, forget_training, lesson, training_for
from engine.data import load as load_images
from engine.errors import Cancelled, CrumpleError, DeviceLost, SpecError
from engine.events import (
    Emit,
    EpochFinished,
    RecipeEpoch,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunStarted,
    ShouldStop,
    StageStarted,
    StudyFinished,
    StudyQueued,
)
from engine.flags import Flag, doubted
from engine.host import device
from engine.host.memory import give_back_device_memory, give_back_freed_memory, memory_errors
from engine.pipeline import attack_plan, statistics_stage
from engine.pipeline.admission import check_methods, check_models
from engine.pipeline.attack_stage import AttackStage
from engine.pipeline.epoch_log import RecipeWatch
from engine.pipeline.gate_progress import GateTeller
from engine.pipeline.survivor_stage import SurvivorStage
from engine.pipeline.transfer_stage import TransferStage
from engine.pipeline.variants import LoadedVariant, Variants
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Run, Study
from engine.store import Payload, Queued, RunKeys, Writer
from engine.store.stage_keys import learns, run_keys

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How to compute, as opposed to what.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda:0``...
        precision: ``auto``, ``fp32`` or ``bf16``: of the search; verdicts are always fp32.
        batch_size: images attacked together; also the unit that survives an interruption.
            None is what suits the device and the images. What memory does not hold is halved.
        resume: continue half-finished runs from their last stored batch, else start them anew.
    """

    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    resume: bool = True


@dataclass(frozen=True)
class StudySummary:
    """How a study ended: numbers of runs."""

    finished: int
    failed: int
    cancelled: int
    open: int = 0
    """Runs that still wait, or that another process works on."""

    @property
    def complete(self) -> bool:
        """Whether every run finished."""
        return not self.failed and not self.cancelled and not self.open


def run(
    study: Study,
    store: Writer,
    emit: Emit,
    should_stop: ShouldStop = lambda: False,
    options: Options | None = None,
) -> StudySummary:
    """Run a study to its end in this process.

    Raises:
        DeviceLost: a run took the device away from this process; the runs after it still wait.
        CrumpleError: the study cannot be queued (data missing, model does not fit).
    """
    runner = Runner(store, emit, options or Options())
    queued = runner.enqueue(study)
    try:
        while not should_stop():
            run_id = store.next_waiting(queued.run_ids)
            if run_id is None:
                break
            runner.execute(run_id, should_stop)
    except DeviceLost:
        runner.study_summary(queued.study_id)
        raise
    summary = runner.study_summary(queued.study_id)
    runner.transfer(queued.study_id, should_stop)
    runner.rest()
    return summary


def _rivals(spec: Run, gate: Payload, variant: LoadedVariant) -> list[diagnostics.Rival]:
    """Who attacks after a run, as the gate of its variant has it: what is left, or naively all."""
    flags = [Flag.from_dict(flag) for flag in gate["flags"]]
    random = any(flag.id == "random-output" for flag in flags)
    found = diagnostics.survivor_rivals(
        spec.attack, gate["twins"], doubted=doubted(flags), random=random
    )
    naive = None if variant.naive is None else diagnostics.naive_rival(spec.attack)
    return [*found, *([naive] if naive else [])]


class Runner:
    """Executes runs one after the other; keeps data and models of the last ones in memory."""

    def __init__(self, store: Writer, emit: Emit, options: Options) -> None:
        self.store, self.emit = store, emit
        self.device = device.resolve(options.device)
        exact = options.precision == "auto" and not device.fast_bf16(self.device)
        self.options = replace(options, precision="fp32" if exact else options.precision)
        self.variants = Variants(store, self.device)
        self._transfers = TransferStage(store, emit, self.variants)
        self._data: dict[str, ImageSet] = {}
        self._variant = self._stage = ""

    def enqueue(self, study: Study) -> Queued:
        """Put all runs of a study into the queue; nothing is written if one cannot work."""
        self._data = {}  # files may have changed since they were read for an earlier study
        forget_training()
        for spec in study.runs():
            check_methods(spec)
        images = self._images(study.dataset, study.repeats[0])
        check_models(study, images)
        runs = [(one, self._keys(one, images)) for one in study.runs()]
        queued = self.store.add_study(study, runs)
        if queued.reused == len(queued.run_ids):
            self._transfers.plan(queued.study_id)
        self.emit(
            StudyQueued(
                study_id=queued.study_id,
                name=study.name,
                run_ids=queued.run_ids,
                reused=queued.reused,
            )
        )
        return queued

    def _keys(self, spec: Run, images: ImageSet, precision: str = "") -> RunKeys:
        card = catalog.model_card(spec.model)
        training = training_for(spec.dataset, card) if learns(spec.recipe) else None
        return run_keys(
            spec,
            images.fingerprint,
            card.basis,
            precision or self.options.precision,
            lesson(training, spec.recipe, images),
            device.training_precision("auto", self.device),
        )

    def execute(self, run_id: int, should_stop: ShouldStop) -> None:
        """Run one run to its end; errors end the run, not the queue.

        Raises:
            DeviceLost: the error also took the device away; only a fresh process can go on.
        """
        self._variant = self._stage = ""
        lost = self._try(run_id, should_stop)
        if lost:
            self.store.move([run_id], to_front=False)  # tried again, it does not stop the others
            raise DeviceLost(
                f"Run {run_id} failed and took the device with it: {lost}.",
                "The other runs still wait: run the study again with --resume.",
            )

    def _try(self, run_id: int, should_stop: ShouldStop) -> str:
        """As ``execute``; says why the device is lost, if it is."""
        try:
            with memory_errors():
                self._execute(run_id, should_stop)
        except Cancelled:
            self.store.end_run(run_id, "cancelled")
            self.emit(RunCancelled(run_id=run_id))
        except CrumpleError as error:
            self._fail(run_id, error.message, error.hint)
        except OSError as error:
            self._fail(
                run_id,
                f"A file cannot be read or written: {error}.",
                "Check the disk and the folder of the database, then retry.",
                traceback.format_exc(),
            )
        except torch.OutOfMemoryError:
            self._fail(
                run_id,
                "The device ran out of memory, although batches were made smaller.",
                "End other programs that use the device, or choose a smaller model; then retry.",
                traceback.format_exc(),
            )
        except Exception as error:  # noqa: BLE001  a bug in one run must not end the queue
            text = str(error).strip().split("\n")[0]
            self._fail(
                run_id,
                f"{type(error).__name__}: {text}",
                "This is a fault of the program or the model; see the details.",
                traceback.format_exc(),
            )
            return device.lost(error, self.device)
        return ""

    def _fail(self, run_id: int, message: str, hint: str, trace: str = "") -> None:
        reason = message
        message = f"{self._variant}, {self._stage}: {reason}" if self._stage else reason
        told = {"message": message, "reason": reason, "stage": self._stage}
        self.store.end_run(run_id, "failed", **told, hint=hint, traceback=trace)
        self.emit(RunFailed(run_id=run_id, message=message, hint=hint, traceback=trace))

    def _execute(self, run_id: int, should_stop: ShouldStop) -> None:
        spec = self.store.run_spec(run_id)
        check_methods(spec)
        images = self._images(spec.dataset, spec.seed_of_images)
        precision, keys = self._queued(run_id, spec, images)
        self._begin(run_id, spec, images, precision)
        staged = self._staged(run_id, f"{spec.model} · {spec.compression}", should_stop)
        variant = self.variants.get(spec, keys, staged, self._watch(run_id, should_stop))
        gate = self.variants.examine(spec, keys, images, staged, GateTeller(run_id, self.emit))
        variant = self.variants.searched(variant, gate)
        together = self.options.batch_size or device.batch_size(self.device, images.shape)
        how = (self.store, self.emit, precision, together)
        attacking, checking = AttackStage(*how), SurvivorStage(*how)
        rivals = _rivals(spec, gate, variant)
        after = checking.work(rivals, images)
        used = staged(
            "attack",
            spec.attack.label,
            lambda: attacking.run(run_id, spec, keys, images, variant, should_stop, after),
        )
        checks = checking.run(run_id, spec, keys, images, variant, rivals, staged, should_stop)
        result = staged(
            "statistics",
            "",
            lambda: statistics_stage.summarise(
                self.store,
                run_id,
                self._parent_run(spec, images, precision),
                images,
                variant,
                gate,
                checks,
            ),
        )
        options = replace(self.options, batch_size=together, precision=used)
        environment = statistics_stage.environment(self.device, options, images, variant)
        self.store.end_run(run_id, "finished", environment=environment, **result)
        self.emit(RunFinished(run_id=run_id, result=self.store.result(run_id)))

    def _begin(self, run_id: int, spec: Run, images: ImageSet, precision: str) -> None:
        """Start or continue; where every image is judged, only the checks are left to make."""
        judged = self.store.run(run_id)["done"] == len(images.labels)
        if not self.options.resume and not judged:
            self.store.clear_batches(run_id)
        self.store.start_run(run_id, len(images.labels))
        self.emit(
            RunStarted(
                run_id=run_id,
                model=spec.model,
                method=f"{spec.compression} · {spec.attack.label}",
                total=len(images.labels),
                done=self.store.run(run_id)["done"],
                steps=attack_plan.length(
                    attack_plan.parts(spec.attack, len(images.class_names), precision)
                ),
            )
        )

    def _queued(self, run_id: int, spec: Run, images: ImageSet) -> tuple[str, RunKeys]:
        """The precision that a run was queued with, whatever works here now, and its keys.

        Raises:
            SpecError: nothing may be added to the run, as its key describes something else.
        """
        wanted = self.store.run(run_id)["key"]
        for precision in (self.options.precision, "fp32", "bf16", "auto"):
            keys = self._keys(spec, images, precision)
            if keys.run == wanted:
                # Only on a device that likes bf16 a run is queued with auto.
                moved = precision == "auto" and not device.fast_bf16(self.device)
                return "bf16" if moved else precision, keys
        raise SpecError(
            "The images, the model or the program changed since this run was queued.",
            "Start the study again: it gets new runs.",
        )

    def _parent_run(self, spec: Run, images: ImageSet, precision: str) -> int | None:
        """The finished run of the base model under the same attack on the same images."""
        parent = spec.model_copy(update={"recipe": ()})
        return self.store.run_by_key(self._keys(parent, images, precision).run)

    def _staged(self, run_id: int, variant: str, should_stop: ShouldStop) -> Callable[..., Any]:
        def staged(name: str, detail: str, compute: Callable[[], T]) -> T:
            if should_stop():
                raise Cancelled
            self._variant, self._stage = variant, f"{name} {detail}".rstrip()
            self.emit(StageStarted(run_id=run_id, stage=name, detail=detail))
            return compute()

        return staged

    def _watch(self, run_id: int, should_stop: ShouldStop) -> RecipeWatch:
        spent: list[float] = []

        def tell(at: RecipeEpoch) -> None:
            epoch = at.epoch
            spent[epoch.number - 1 :] = [epoch.seconds]
            left = max(epoch.of - epoch.number, at.expected - at.done)
            seconds = left * sum(spent) / len(spent)
            self.emit(EpochFinished(run_id=run_id, at=at, seconds_left=seconds))

        return RecipeWatch(tell, should_stop)

    def _images(self, spec: DatasetSpec, seed: int) -> ImageSet:
        key = f"{spec!r} {seed}"
        if key not in self._data:
            self._data = {key: load_images(spec, seed).on(self.device)}
        return self._data[key]

    def study_summary(self, study_id: int) -> StudySummary:
        """Count the runs of a study; if none is left, say so and let its transfers wait."""
        (row,) = self.store.studies(study_id)
        still = row["waiting"] + row["running"]
        summary = StudySummary(row["finished"], row["failed"], row["cancelled"], still)
        if not still:
            self._transfers.plan(study_id)
            self.emit(
                StudyFinished(
                    study_id=study_id,
                    finished=summary.finished,
                    failed=summary.failed,
                    cancelled=summary.cancelled,
                )
            )
        return summary

    def transfer(self, study_id: int, should_stop: ShouldStop) -> None:
        """Judge the examples of each run of a study on the other variants, where that waits.

        Told to stop, it leaves the rest waiting.

        Raises:
            DeviceLost: a pair took the device away; the pairs after it still wait.
        """
        with suppress(Cancelled):
            self._transfers.run(study_id, should_stop)

    def rest(self) -> None:
        """Let go of data and models, and of their memory; for when there is nothing to do."""
        self._data = {}
        self.variants.forget()
        gc.collect()  # modules with hooks stand in cycles
        give_back_device_memory()
        give_back_freed_memory()
