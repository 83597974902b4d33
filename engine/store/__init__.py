"""Results: a SQLite file (WAL) and a folder of artifacts beside it; torch-free.

``Store`` reads and writes what a person may write; ``Writer`` is for the process that computes.
"""

from __future__ import annotations

from engine.store.columns import (
    MORE_COLUMNS,
    RESULT_COLUMNS,
    SAMPLE_COLUMNS,
    STATUSES,
    TRANSFER_COLUMNS,
    BatchRow,
    Columns,
    CurveRow,
    DistanceRow,
    NewBatch,
    Payload,
    QueueRow,
    ResultRow,
    RunRow,
    SampleRow,
    StudyRow,
    TransferRow,
)
from engine.store.paces import PaceRow, StepPaceRow
from engine.store.stage_keys import RunKeys
from engine.store.store import Store
from engine.store.transfers import Pair, TransferQueue
from engine.store.usage import ModelUsage
from engine.store.verdicts import packed
from engine.store.writer import Queued, Writer

__all__ = [
    "MORE_COLUMNS",
    "RESULT_COLUMNS",
    "SAMPLE_COLUMNS",
    "STATUSES",
    "TRANSFER_COLUMNS",
    "BatchRow",
    "Columns",
    "CurveRow",
    "DistanceRow",
    "ModelUsage",
    "NewBatch",
    "PaceRow",
    "Pair",
    "Payload",
    "QueueRow",
    "Queued",
    "ResultRow",
    "RunKeys",
    "RunRow",
    "SampleRow",
    "StepPaceRow",
    "Store",
    "StudyRow",
    "TransferQueue",
    "TransferRow",
    "Writer",
    "packed",
]
