"""The transfer stage of a study: the examples of every run judged on every other variant.

It comes after the runs. A pair is two finished runs of one study with the same images, attack
and seed, which differ in the variant alone: the kept examples of the *source* run are judged
in fp32 on the deployed model of the *target* run. Two shares are told of a pair:

* the transfer rate, ``fooled / n``: of the images that the source attack broke on the source
  and that both models classify correctly clean, the share whose examples the target
  misclassifies too. Images that either model gets wrong without an attack say nothing about
  the examples, and examples that do not even fool the source are no adversarial ones.
* the accuracy, ``1 - broken / kept``: of all kept examples, whatever the source made of them,
  the share that the target does not misclassify; on the diagonal that is the white-box robust
  accuracy over the kept images.

On the diagonal, source = target, every counted example fools its own model, so the rate is 1;
less says that verdicts do not repeat, as with a random model. An output that is not finite is
a failure of the attack and fools nobody, as in every verdict.

Source: Papernot, McDaniel & Goodfellow 2016, arXiv:1605.07277 (rates between models); Liu et
al. 2017, ICLR (images that both models classify correctly); Demontis et al. 2019, USENIX
Security (the error of the target on the examples of the source).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.attacks.search.outputs import predict
from engine.diagnostics.checks import forward
from engine.errors import Cancelled, CrumpleError, DeviceLost
from engine.evaluation.guard import preserved
from engine.events import Emit, ShouldStop, StudyStage
from engine.flags import Flag
from engine.host.batches import in_batches
from engine.host.device import batch_size, lost
from engine.host.memory import memory_errors
from engine.pipeline.epoch_log import RecipeWatch
from engine.pipeline.variants import LoadedVariant, Variants
from engine.store import Pair, RunKeys, RunRow, SampleRow, Writer, packed
from engine.store.transfers import groups_alike, pair_of

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Transfer:
    """What the examples of a source do to a target.

    Attributes:
        kept: examples judged.
        broken: of them, those that the target misclassifies.
        n: images broken by the attack on the source that both models classify correctly clean.
        fooled: of those ``n``, the images whose examples the target misclassifies.
    """

    kept: int
    broken: int
    n: int
    fooled: int


def count(wrong: Flags, source_clean: Flags, source_broken: Flags, target_clean: Flags) -> Transfer:
    """Count a pair; all (K,) bool over the kept images.

    Args:
        wrong: the target misclassifies the example of the source.
        source_clean: the source classifies the clean image correctly.
        source_broken: the attack broke the image on the source.
        target_clean: the target classifies the clean image correctly.
    """
    eligible = source_clean & source_broken & target_clean
    return Transfer(
        len(wrong), int(wrong.sum()), int(eligible.sum()), int((eligible & wrong).sum())
    )


def misclassified(
    model: nn.Module, examples: Tensor, labels: Tensor, batch: int, should_stop: ShouldStop
) -> Tensor:
    """Which examples a model gets wrong, (K,) bool; not finite counts as not wrong.

    Args:
        model: a deployed model; left as it was.
        examples: (K, C, H, W) float32 in [0,1], on any device.
        labels: (K) int64, on the device of the model.
        batch: examples judged together; between two batches it asks whether to stop.
        should_stop: whether to stop.

    Raises:
        Cancelled: it was told to stop.
    """

    def judge(start: int, stop: int) -> Tensor:
        if should_stop():
            raise Cancelled
        predicted = predict(forward(model, examples[start:stop].to(labels.device)))
        return (predicted != labels[start:stop]) & (predicted >= 0)

    with preserved(model, seed=0):
        found = in_batches(judge, 0, len(labels), batch)
    return torch.cat([torch.zeros(0, dtype=torch.bool, device=labels.device), *found])


class TransferStage:
    """Judges the pairs of a study that are not stored yet; every target is loaded once.

    Args:
        store: where pairs come from and go to.
        emit: where progress goes.
        variants: gives the deployed models.
    """

    def __init__(self, store: Writer, emit: Emit, variants: Variants) -> None:
        self._store, self._emit, self._variants = store, emit, variants
        self._queue = store.transfer_queue

    def plan(self, study_id: int) -> None:
        """Let the pairs of a study wait, as far as they are not judged."""
        runs = map(self._store.run, self._store.study_runs(study_id))
        self._queue.plan(
            pair_of(source, target)
            for rows in groups_alike(runs)
            for source, target in itertools.product(rows, rows)
        )

    def run(self, study_id: int, should_stop: ShouldStop) -> None:
        """Judge what waits of a study; a pair that fails is stored with its reason.

        Raises:
                Cancelled: it was told to stop; what is judged stays, the rest waits.
            DeviceLost: a pair took the device away from this process; the rest waits.
        """
        waiting = self._queue.waiting(study_id)
        done, last = 0, None
        try:
            for target, group in itertools.groupby(waiting, key=lambda pair: pair.target):
                pairs = list(group)
                row = self._store.run(target)
                if last and last["variant_key"] != row["variant_key"]:
                    self._store.refresh_verdicts(last["id"])
                last = row
                detail = f"{row['model']} · {row['compression']} · {row['attack']}"
                self._tell(study_id, detail, done, len(waiting))
                self._target(row, pairs, should_stop)
                done += len(pairs)
        finally:
            if last:
                self._store.refresh_verdicts(last["id"])
            if waiting:
                self._tell(study_id, "", done, len(waiting))

    def _tell(self, study_id: int, detail: str, done: int, total: int) -> None:
        self._emit(
            StudyStage(study_id=study_id, stage="transfer", detail=detail, done=done, total=total)
        )

    def _target(self, row: RunRow, pairs: list[Pair], should_stop: ShouldStop) -> None:
        """Judge all sources on one target."""
        left = list(pairs)
        self._queue.start(pairs)
        try:
            with self._failures(pairs):
                variant = self._load(row, should_stop)
                clean = self._store.samples(row["id"])
                while left:
                    with self._failures(left[:1]):
                        self._pair(left[0], variant, clean, should_stop)
                    left.pop(0)
        except (Cancelled, DeviceLost):
            self._queue.leave(left, "waiting")
            raise

    @contextmanager
    def _failures(self, pairs: Sequence[Pair]) -> Iterator[None]:
        """What goes wrong inside is stored as the reason why these pairs failed."""
        try:
            with memory_errors():
                yield
        except (Cancelled, DeviceLost):
            raise
        except CrumpleError as error:
            self._queue.fail(pairs, str(error))
        except OSError as error:
            self._queue.fail(pairs, f"A file cannot be read or written: {error}.")
        except Exception as error:  # a bug in one pair must not end the study
            first = str(error).strip().split("\n")[0]
            self._queue.fail(pairs, f"{type(error).__name__}: {first}")
            why = lost(error, self._variants.device)
            if why:
                raise DeviceLost(
                    f"Judging transferred examples took the device away: {why}.",
                    "The other pairs still wait: run the study again with --resume.",
                ) from error

    def _load(self, row: RunRow, should_stop: ShouldStop) -> LoadedVariant:
        keys = RunKeys(row["key"], row["variant_key"], row["data_key"])
        if should_stop():
            raise Cancelled
        variant = self._variants.get(
            self._store.run_spec(row["id"]),
            keys,
            lambda name, detail, compute: compute(),
            RecipeWatch(should_stop=should_stop),
        )
        return self._variants.as_examined(variant, row)

    def _pair(
        self,
        pair: Pair,
        variant: LoadedVariant,
        target: Sequence[SampleRow],
        should_stop: ShouldStop,
    ) -> None:
        begun = time.perf_counter()
        examples = self._store.images(pair.source)
        kept = len(examples["index"])
        source, target = self._store.samples(pair.source)[:kept], target[:kept]
        if not kept or [row["index"] for row in source] != [row["index"] for row in target]:
            missing = "keeps no images" if not kept else "saw other images"
            raise CrumpleError(f"The source run {pair.source} {missing}.")
        wrong = misclassified(
            variant.deployed,
            torch.from_numpy(examples["adversarial"]),
            torch.tensor([row["label"] for row in source], device=variant.device),
            batch_size(variant.device, examples["adversarial"].shape[1:]),
            should_stop,
        )
        fooled = wrong.cpu().numpy()
        found = count(
            fooled,
            _clean(source),
            np.array([row["broken"] for row in source], bool),
            _clean(target),
        )
        if pair.source == pair.target and found.fooled < found.n:
            self._store.add_flag(pair.source, _unrepeated(found).to_dict())
        seconds = time.perf_counter() - begun
        self._queue.finish(pair, {**vars(found), "wrong": packed(fooled), "seconds": seconds})


def _unrepeated(found: Transfer) -> Flag:
    text = (
        f"Only {found.fooled} of {found.n} examples fool their own variant when they are shown to "
        "it again: its verdicts do not repeat, because it is random or depends on the batch."
    )
    return Flag("unrepeated", "warning", text)


def _clean(samples: Sequence[SampleRow]) -> Flags:
    return np.array([row["clean_prediction"] == row["label"] for row in samples], bool)
