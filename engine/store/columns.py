"""The columns of the results table, in order."""

from __future__ import annotations

RESULT_COLUMNS = (
    "run_id",
    "study",
    "dataset",
    "n",
    "model",
    "compression",
    "compression_rate",
    "parameters",
    "nonzero_parameters",
    "size_bytes",
    "attack",
    "eps",
    "norm",
    "clean_accuracy",
    "robust_accuracy",
    "ci_low",
    "ci_high",
    "avg_perturbation_l2",
    "avg_perturbation_linf",
    "queries_per_sample",
    "seconds",
    "flags",
    "status",
)
"""What every export of results has (``crumple results``)."""

MORE_COLUMNS = (
    "dense_bytes",
    "file_bytes",
    "achieved_sparsity",
    "weight_bits",
    "transfer_accuracy",
    "transfer_n",
    "black_box_accuracy",
    "black_box_n",
    "worst_case",
    "median_distance",
    "seed",
    "steps",
    "tags",
    "note",
    "created",
    "finished",
    "attack_id",
)
"""Further columns of ``Store.results``; each row has ``recipe`` as well (``StepWords``)."""

SAMPLE_COLUMNS = (
    "index",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "broken",
    "l2",
    "linf",
    "forwards",
    "backwards",
    "broken_at_step",
    "clean_confidence",
    "adversarial_confidence",
)
"""One row per image (``crumple samples``)."""

TRANSFER_COLUMNS = (
    "source_run",
    "target_run",
    "dataset",
    "attack",
    "eps",
    "norm",
    "source_model",
    "source_compression",
    "target_model",
    "target_compression",
    "kept",
    "broken",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "n",
    "fooled",
    "transfer_rate",
    "rate_low",
    "rate_high",
    "status",
    "message",
)
"""One row per pair of a source run and a target run (``Store.transfers``)."""

STATUSES = ("waiting", "running", "finished", "failed", "cancelled")

QUEUE_COLUMNS = (
    "run_id",
    "study",
    "dataset",
    "model",
    "compression",
    "recipe",
    "attack",
    "status",
    "position",
    "total",
    "done",
    "message",
    "hint",
    "reason",
    "stage",
    "traceback",
    "attempts",
    "created",
    "started",
    "finished",
    "seconds",
)
"""One row per run in queue order (``Store.queue``)."""
