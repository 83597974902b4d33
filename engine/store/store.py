"""Reading results, and the few things that a person may write: tags, notes, soft deletes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import StoreError
from engine.specs.study import Run, Study
from engine.statistics.run_checks import Check
from engine.statistics.worst_case import WorstCase
from engine.store import artifacts
from engine.store.artifacts import Arrays
from engine.store.columns import (
    CurveRow,
    Payload,
    QueueRow,
    ResultRow,
    RunRow,
    SampleRow,
    StudyRow,
    TransferRow,
)
from engine.store.database import NOT_DELETED, PATIENCE, open_database
from engine.store.kept_images import examples, kept_images
from engine.store.paces import PaceRow, StepPaceRow, run_paces, step_paces
from engine.store.queue_counts import QueueCounts, queue_counts
from engine.store.queue_rows import queue_rows
from engine.store.result_rows import DAMAGED, VALUES, Told, read_json, result_columns, result_rows
from engine.store.run_environments import read_environment
from engine.store.samples import curve_rows, example_sources, sample_rows
from engine.store.seals import check_batches, check_verdicts, damaged
from engine.store.stages import checks_of, read_stage, records_of, variant_of
from engine.store.transfers import has_transfers, transfer_rows
from engine.store.usage import ModelUsage, count_active, model_usage
from engine.store.verdicts import refresh_around, who_broke

_OBJECTS = ("spec", "verdict", "checks")
"""Columns of ``RunRow`` that are JSON and no part of ``ResultRow``."""


class Store:
    """One connection to the database and its artifact folder; one per thread.

    Args:
        path: the SQLite file; created if missing.
        readonly: refuse to create, migrate or write.
        patience: seconds to wait for another process that writes.

    Raises:
        StoreError: the file cannot be used; the message says why.
    """

    def __init__(self, path: Path, *, readonly: bool = False, patience: float = PATIENCE) -> None:
        self.path = Path(path)
        self.db = open_database(self.path, readonly=readonly, patience=patience)
        self.artifacts = artifacts.folder_of(self.path)

    def close(self) -> None:
        """Close the connection; twice is fine."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _query(self, sql: str, params: Iterable[Any] = ()) -> list[dict[str, Any]]:
        return list(self.db.query(sql, tuple(params)))

    def data_version(self) -> int:
        """A number that changes when another connection has written."""
        return int(self._query("PRAGMA data_version")[0]["data_version"])

    # -- studies ---------------------------------------------------------------------------

    def studies(self, study_id: int | None = None) -> list[StudyRow]:
        """All studies, or one, newest first: id, name, created, runs, and a count per status.

        A deleted run that waits is in no queue, and not counted as waiting.
        """
        rows = self._query(
            f"""
            SELECT studies.id, studies.name, studies.created, count(*) AS runs,
                sum(status = 'waiting' AND {NOT_DELETED}) AS waiting,
                sum(status = 'running') AS running,
                sum(status = 'finished') AS finished, sum(status = 'failed') AS failed,
                sum(status = 'cancelled') AS cancelled
            FROM studies JOIN study_runs ON study_id = studies.id JOIN runs ON runs.id = run_id
            {"" if study_id is None else "WHERE studies.id = ?"}
            GROUP BY studies.id ORDER BY studies.created DESC, studies.id DESC
            """,
            () if study_id is None else (study_id,),
        )
        return cast(list[StudyRow], rows)

    def queue_counts(self) -> QueueCounts:
        """How far the studies are that have runs which wait or run; quick at any size."""
        return queue_counts(self.db)

    def study_names(self) -> list[str]:
        """The names of all studies, each once, that first which was started last."""
        rows = self._query("SELECT name FROM studies ORDER BY created DESC, id DESC")
        return list(dict.fromkeys(row["name"] for row in rows))

    def study(self, study_id: int) -> Study:
        """The study as it was asked for."""
        rows = self._query("SELECT spec FROM studies WHERE id = ?", (study_id,))
        if not rows:
            raise StoreError(f"There is no study {study_id} in {self.path}.")
        try:
            return Study.from_dict(json.loads(rows[0]["spec"]))
        except (ValueError, TypeError):
            raise damaged(f"tables of study {study_id}") from None

    def study_runs(self, study_id: int) -> list[int]:
        """The ids of a study's runs, in order."""
        rows = self._query(
            "SELECT run_id FROM study_runs WHERE study_id = ? ORDER BY position", (study_id,)
        )
        return [row["run_id"] for row in rows]

    def studies_of(self, run_id: int) -> list[int]:
        """The studies that a run belongs to."""
        rows = self._query("SELECT study_id FROM study_runs WHERE run_id = ?", (run_id,))
        return [row["study_id"] for row in rows]

    def _study_id(self, name: str) -> int:
        rows = self._query(
            "SELECT id FROM studies WHERE name = ? ORDER BY created DESC, id DESC LIMIT 1", (name,)
        )
        if not rows:
            known = ", ".join(repr(row["name"]) for row in self.studies()) or "none"
            raise StoreError(f"There is no study named {name!r}.", f"Stored studies: {known}.")
        return int(rows[0]["id"])

    # -- runs ------------------------------------------------------------------------------

    def results(self, study: str | None = None) -> list[ResultRow]:
        """One row per run: ``RESULT_COLUMNS`` then ``MORE_COLUMNS``; flags as a list of dicts.

        Args:
            study: only the runs of the newest study of that name, in its order.
        """
        return [row for told in self.result_columns(study) for row in result_rows(told)]

    def result_columns(self, study: str | None = None) -> Iterator[Told]:
        """As ``results``, but columns of some runs at a time, read as they are asked for."""
        study_id = None if study is None else self._study_id(study)
        return result_columns(self.db, study_id=study_id)

    def result(self, run_id: int) -> ResultRow:
        """The results row of one run."""
        row = self.run(run_id)
        return cast(ResultRow, {name: row.get(name) for name in VALUES})

    def run(self, run_id: int) -> RunRow:
        """Everything stored of one run; spec, flags, verdict, checks and environment decoded."""
        found = [
            row for told in result_columns(self.db, run_id=run_id) for row in result_rows(told)
        ]
        if not found:
            raise StoreError(f"There is no run {run_id} in {self.path}.")
        if found[0]["flags"] == [DAMAGED]:
            raise damaged(f"results of run {run_id}")
        (row,) = self._query(
            "SELECT runs.*, coalesce(deleted, 0) AS deleted FROM runs "
            "LEFT JOIN annotations ON run_id = runs.id WHERE runs.id = ?",
            (run_id,),
        )
        for name in ("environment_id", "seal"):
            row.pop(name, None)
        row |= {name: read_json(row.get(name) or "{}", run_id, name) for name in _OBJECTS}
        row["environment"] = read_environment(self.db, run_id)
        return cast(RunRow, {**row, **found[0]})

    def with_specs(self, rows: Iterable[ResultRow]) -> list[ResultRow]:
        """Rows of results with ``spec``: what each run does, every parameter named.

        Parts that are alike in several runs are one object, not to be changed.
        """
        found = list(rows)
        ids = json.dumps([row["run_id"] for row in found])
        specs = self._query(
            "SELECT id, spec FROM runs WHERE id IN (SELECT value FROM json_each(?))", (ids,)
        )
        parts: dict[str, Any] = {}
        known = {
            row["id"]: {
                name: parts.setdefault(f"{name} {part}", part)
                for name, part in read_json(row["spec"], row["id"], "spec").items()
            }
            for row in specs
        }
        return [{**row, "spec": known[row["run_id"]]} for row in found]

    def run_spec(self, run_id: int) -> Run:
        """What a run does."""
        return Run.model_validate(self.run(run_id)["spec"])

    def run_by_key(self, key: str) -> int | None:
        """The id of the run with this content key, if its results can be used."""
        rows = self._query(
            "SELECT id FROM runs WHERE key = ? AND status IN ('running', 'finished')", (key,)
        )
        return int(rows[0]["id"]) if rows else None

    def queue(self) -> list[QueueRow]:
        """All runs in queue order, for the Queue page: ``QUEUE_COLUMNS``.

        Read often and with many runs, so only what is needed is read.
        """
        return queue_rows(self.db)

    def ids(self, status: str) -> list[int]:
        """The ids of all runs in a state, deleted ones too."""
        rows = self._query("SELECT id FROM runs WHERE status = ? ORDER BY position", (status,))
        return [row["id"] for row in rows]

    def messages(self) -> dict[int, str]:
        """Why runs failed, by their ids."""
        rows = self._query("SELECT id, message FROM runs WHERE message IS NOT NULL")
        return {row["id"]: row["message"] for row in rows}

    def count(self, status: str) -> int:
        """How many runs that are not deleted are in a state; quick, also with many runs."""
        rows = self._query(
            f"SELECT count(*) AS n FROM runs WHERE status = ? AND {NOT_DELETED}", (status,)
        )
        return int(rows[0]["n"])

    def paces(self) -> list[PaceRow]:
        """What finished runs took (``engine.store.paces``)."""
        return run_paces(self.db)

    def step_paces(self) -> list[StepPaceRow]:
        """What steps that train took (``engine.store.paces``)."""
        return step_paces(self.db)

    def stage(self, key: str) -> Payload | None:
        """The payload of a stored stage, None if it was never computed."""
        return read_stage(self.db, key)

    def checks(self, run_id: int) -> list[Check]:
        """What each check says of a run; of one stored without them, from what is stored of it."""
        return checks_of(self.db, self.run(run_id))

    def who_broke(self, run_id: int) -> WorstCase | None:
        """Who broke what in the threat model of a run; None before it ended, or without a ball.

        Every stored attack on its variant and images counts, those without an eps by their
        distances, and what the checks of these runs and transferred examples broke.
        """
        self._check_batches(run_id)
        return who_broke(self.db, run_id)

    def step_records(self, run_id: int) -> list[Payload]:
        """The records of the steps of a run that are stored: all, or those before it stopped."""
        return records_of(self.db, self.run(run_id)["variant_key"])

    def variant(self, run_id: int) -> Payload:
        """The stored variant that a run attacks: ``steps``, ``accounting`` and ``latency``.

        Empty before it ran. ``steps`` has a record of each step of the recipe
        (``recipe_stage.Made``); ``accounting`` the totals and, as ``layers``, one row per layer;
        ``latency`` one row per batch size (``catalog.FORMULAS``).

        Raises:
            StoreError: the run is finished, and its variant is gone.
        """
        return variant_of(self.db, self.run(run_id))

    def transfers(
        self, study: str | None = None, *, among: Iterable[int] | None = None
    ) -> list[TransferRow]:
        """One row per pair of a source and a target run: ``TRANSFER_COLUMNS``.

        The kept examples of the source run are judged on the deployed model of the target run
        (``engine.pipeline.transfer_stage``). ``accuracy`` is the share of all ``kept`` examples
        that do not fool the target; ``transfer_rate`` the share of the ``n`` images that the source
        attack broke, and that both models classify correctly clean, whose examples fool it. Each
        has its 95 % Wilson interval. Pairs not yet judged have no numbers; ``message`` says why one
        failed.

        Args:
            study: only the pairs of the newest study of that name, in its order.
            among: only the pairs of two of these runs.
        """
        study_id = None if study is None else self._study_id(study)
        return transfer_rows(self.db, study_id, among)

    def has_transfers(self, *, among: Iterable[int]) -> bool:
        """Whether there is a pair of two of these runs."""
        return has_transfers(self.db, among)

    def model_usage(self) -> dict[str, ModelUsage]:
        """Which models the runs use, by id; models that none uses are left out."""
        return model_usage(self.db)

    def active_users(self, model: str) -> int:
        """How many runs that wait or run use a model (``ModelUsage.active``)."""
        return count_active(self.db, model)

    # -- images ----------------------------------------------------------------------------

    def samples(self, run_id: int) -> list[SampleRow]:
        """One row per attacked image, in order: ``SAMPLE_COLUMNS``.

        Raises:
            StoreError: they are not what was written.
        """
        self._check_batches(run_id)
        return sample_rows(self.db, run_id)

    def images(self, run_id: int) -> Arrays:
        """The kept images of a run: index (K,), clean and adversarial (K,C,H,W) in [0,1].

        Rows are the first K rows of ``samples``, as far as the run has got.

        Raises:
            StoreError: a file of them is missing, damaged or of another run.
        """
        self._check_batches(run_id)
        return kept_images(self.db, self.artifacts, run_id, self.run(run_id)["data_key"])

    def examples(
        self, run_id: int, first: int, last: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The stored examples that broke images of a run, at places from ``first`` to ``last``.

        Their places (M) and themselves (M,C,H,W) in [0,1]. A worst case keeps those that its
        attacks found also of images beyond the kept ones.

        Raises:
            StoreError: a file of them is missing or damaged, or the verdicts on these images are.
        """
        if "seal" in self.db.run_columns:
            check_verdicts(self.db, run_id, first, last)
        return examples(self.db, self.artifacts, run_id, first, last)

    def example_sources(self, run_id: int, data_fingerprint: str) -> list[int]:
        """The runs whose examples may break the variant of a run, the most promising first.

        Finished runs on the same images: those of the same variant, and those of its studies,
        at most ``MOST_SOURCES``.
        """
        return example_sources(self.db, run_id, data_fingerprint)

    def curve(self, run_id: int) -> list[CurveRow]:
        """Robust accuracy and mean telemetry per attack step: step, robust_accuracy, loss, ...

        Robust accuracy comes from the verdicts; loss and margin are means over the images
        still under attack, None for steps without stored telemetry. Step 0 is the clean image.
        ``part`` names the attack of several in a row that the step belongs to.
        """
        self._check_batches(run_id)
        return curve_rows(self.db, run_id)

    def _check_batches(self, run_id: int) -> None:
        if "seal" in self.db.run_columns:
            check_batches(self.db, run_id)

    def _run_folder(self, run_id: int) -> Path:
        return self.artifacts / "runs" / str(run_id)

    def variant_folder(self, variant_key: str) -> Path:
        """Where a compressed variant is stored."""
        return self.artifacts / "variants" / variant_key

    # -- what a person writes --------------------------------------------------------------

    def tag(self, tags: Mapping[int, str]) -> None:
        """Set the tags (comma-separated) of several runs, all or none."""
        with self.db.atomic():
            rows = [{"run_id": run_id, "tags": text} for run_id, text in tags.items()]
            self.db.table("annotations").upsert_all(rows, pk="run_id")

    def annotate(self, run_id: int, *, tags: str | None = None, note: str | None = None) -> None:
        """Set tags (comma-separated) or the note of a run."""
        given = {k: v for k, v in (("tags", tags), ("note", note)) if v is not None}
        with self.db.atomic():
            self.db.table("annotations").upsert({"run_id": run_id, **given}, pk="run_id")

    def set_deleted(self, run_ids: Iterable[int], deleted: bool = True) -> None:
        """Hide runs from every list, or bring them back; nothing is erased.

        A hidden run is no rival of others, whose verdicts change with it.
        """
        rows = [{"run_id": run_id, "deleted": int(deleted)} for run_id in run_ids]
        with self.db.atomic():
            self.db.table("annotations").upsert_all(rows, pk="run_id")
            refresh_around(self.db, [row["run_id"] for row in rows])
