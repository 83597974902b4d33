"""The rows that the store gives, column by column and typed; exports follow their order.

A misspelt column is an error of types, not a ``KeyError`` on somebody's machine. Where a column
is chosen at run time, a row is taken for ``Columns``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from engine.flags import FlagRow
from engine.specs.choices import StepWords

Payload = dict[str, Any]
"""What a stage gave, or another piece of JSON whose keys are not columns."""

Columns = Mapping[str, Any]
"""A row of which columns are chosen at run time, or that has some of them only."""

Status = Literal["waiting", "running", "finished", "failed", "cancelled"]


class _ExportedRow(TypedDict):
    run_id: int
    study: str | None
    dataset: str
    n: int | None
    model: str
    compression: str
    compression_rate: float | None
    parameters: int | None
    nonzero_parameters: int | None
    size_bytes: int | None
    attack: str
    eps: float | None
    norm: str
    clean_accuracy: float | None
    robust_accuracy: float | None
    ci_low: float | None
    ci_high: float | None
    avg_perturbation_l2: float | None
    avg_perturbation_linf: float | None
    queries_per_sample: float | None
    seconds: float | None
    flags: list[FlagRow]
    status: Status


class _FurtherRow(TypedDict):
    dense_bytes: int | None
    file_bytes: int | None
    achieved_sparsity: float | None
    weight_bits: float | None
    transfer_accuracy: float | None
    transfer_n: int | None
    black_box_accuracy: float | None
    black_box_n: int | None
    naive_accuracy: float | None
    robust_of_correct: float | None
    worst_case: float | None
    median_distance: float | None
    seed: int
    steps: int | None
    tags: str
    note: str
    created: str
    finished: str | None
    attack_id: str


class ResultRow(_ExportedRow, _FurtherRow):
    """One run, as tables and charts have it: shares in [0,1], bytes, seconds, UTC as ISO 8601.

    Attributes:
        robust_of_correct: of the images that are right without the attack the share that holds,
            as papers give it that attack these alone (Bernhard 2019): robust / clean accuracy.
        recipe: the steps in words; None in a database of an earlier version that is only read.
        spec: ``specs.study.Run`` as JSON (``Store.with_specs``).
    """

    recipe: list[StepWords] | None
    spec: NotRequired[dict[str, Any]]


class _Queued(TypedDict):
    """How a run fares in the queue."""

    position: int
    total: int
    done: int
    attempts: int
    started: str | None
    message: str | None
    hint: str | None
    reason: str | None
    stage: str | None
    traceback: str | None
    deleted: int


class RunRow(ResultRow, _Queued):
    """Everything stored of one run (``Store.run``).

    Attributes:
        id: the ``run_id``.
        key: its content key; ``variant_key`` and ``data_key`` those of what it attacks.
        done: images judged, of ``total``.
        attempts: tries since it last got on.
        message: why it failed, in whole; ``reason`` without where that was, ``stage``.
        environment: versions, device, precision and fingerprints; empty before it ended.
        verdict: ``statistics.run_verdict.Verdict`` as JSON; empty before there is one.
        checks: what the checks of the run were made from, and as ``made`` what they say.
        deleted: whether it is hidden.
    """

    id: int
    key: str
    variant_key: str
    data_key: str
    environment: dict[str, Any]
    verdict: dict[str, Any]
    checks: dict[str, Any]


class TableRow(ResultRow, _Queued):
    """One run among all (``run_table.RunTable``): its results, and how it fares in the queue."""


class QueueRow(TypedDict):
    """One run in the order of the queue (``Store.queue``)."""

    run_id: int
    study: str | None
    dataset: str
    model: str
    compression: str
    recipe: list[StepWords]
    attack: str
    status: Status
    position: int
    total: int
    done: int
    message: str | None
    hint: str | None
    reason: str | None
    stage: str | None
    traceback: str | None
    attempts: int
    created: str
    started: str | None
    finished: str | None
    seconds: float | None


class SampleRow(TypedDict):
    """One attacked image (``crumple samples``); distances in [0,1] images, -1 for never.

    Attributes:
        settled_by: of a worst case, who broke it: ``no attack``, an attack, or the run whose
            example it is; empty where it holds, and of every other run.
    """

    index: int
    label: int
    clean_prediction: int
    adversarial_prediction: int
    broken: bool
    l2: float
    linf: float
    forwards: int
    backwards: int
    broken_at_step: int
    clean_confidence: float
    adversarial_confidence: float
    settled_by: str


class DistanceRow(TypedDict):
    """Of an attacked image what curves over eps are made from; every ``SampleRow`` is one."""

    index: int
    broken: bool
    l2: float
    linf: float


class _PairRow(TypedDict):
    source_run: int
    target_run: int
    dataset: str
    attack: str
    eps: float | None
    norm: str
    source_model: str
    source_compression: str
    target_model: str
    target_compression: str
    kept: int | None
    broken: int | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    n: int | None
    fooled: int | None
    transfer_rate: float | None
    rate_low: float | None
    rate_high: float | None
    status: Status
    message: str | None


class TransferRow(_PairRow):
    """A pair of a source run and a target run (``Store.transfers``), both recipes in words."""

    source_recipe: list[StepWords] | None
    target_recipe: list[StepWords] | None


class CurveRow(TypedDict):
    """One step of an attack (``Store.curve``); means are over the images still under attack."""

    step: int
    robust_accuracy: float
    loss: float | None
    margin: float | None
    active: int
    part: str


class StudyRow(TypedDict):
    """One study (``Store.studies``) with how many of its runs are in each state."""

    id: int
    name: str
    created: str
    runs: int
    waiting: int
    running: int
    finished: int
    failed: int
    cancelled: int


class BatchRow(TypedDict):
    """A stored batch of a run (``Writer.batches``)."""

    start: int
    size: int
    seconds: float
    notes: list[Any]


class NewBatch(BatchRow):
    """A batch to be stored, with its telemetry: an ``attacks.StepPoint`` per step, as JSON."""

    telemetry: list[Payload]


RESULT_COLUMNS = tuple(_ExportedRow.__annotations__)
"""What every export of results has (``crumple results``)."""

MORE_COLUMNS = tuple(_FurtherRow.__annotations__)
"""Further columns of ``Store.results``."""

SAMPLE_COLUMNS = tuple(SampleRow.__annotations__)
"""One row per image (``crumple samples``)."""

TRANSFER_COLUMNS = tuple(_PairRow.__annotations__)
"""One row per pair of a source run and a target run."""

QUEUE_COLUMNS = tuple(QueueRow.__annotations__)

STATUSES = ("waiting", "running", "finished", "failed", "cancelled")
