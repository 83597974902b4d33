"""Writing results: used by the one process that computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from engine.errors import StoreError
from engine.flags import FlagRow
from engine.specs.choices import in_words
from engine.specs.study import Run, Study, content_key
from engine.store import artifacts
from engine.store.artifacts import Arrays
from engine.store.columns import BatchRow, NewBatch, Payload, SampleRow
from engine.store.database import NOT_DELETED, check_file
from engine.store.distances import measure_distance
from engine.store.environments import environment_id
from engine.store.kept_images import batch_file, database_id, images_file
from engine.store.seals import damaged, seal_batch, seal_rows
from engine.store.stage_keys import RunKeys
from engine.store.store import Store
from engine.store.telemetry import packed
from engine.store.transfers import TransferQueue
from engine.store.verdicts import refresh_verdicts

if TYPE_CHECKING:
    from filelock import FileLock

_NO_FAILURE = ", ".join(
    f"{name} = NULL" for name in ("message", "hint", "reason", "stage", "traceback")
)


MOST_ATTEMPTS = 2
"""Of a run that ends the process each time, without a batch in between."""


class Queued(NamedTuple):
    """What became of a study: its id, its runs in order, and how many were finished before."""

    study_id: int
    run_ids: tuple[int, ...]
    reused: int


def now() -> str:
    """UTC as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


_PATIENCE = 60.0
"""Seconds that a result waits for another process that writes; it must not be lost."""


def _locked(path: Path) -> FileLock:
    """The lock of the file itself, whatever it is called on the way to it; taken.

    Raises:
        StoreError: another process has it, or its file cannot be made.
    """
    from filelock import FileLock, Timeout  # the window imports this module, and never locks

    lock = FileLock(f"{path.resolve()}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"Another Crumple is computing into {path}.",
            "Wait for it, stop it, or name another database with --db.",
        ) from None
    except OSError as error:
        raise StoreError(
            f"The lock {lock.lock_file} cannot be taken: {error.strerror}.",
            "Choose a folder that you can write to, or another file with --db.",
        ) from None
    return lock


class Writer(Store):
    """A store that may write results; at most one per database at any time.

    Raises:
        StoreError: as ``Store``, or another process already computes into this database.
    """

    def __init__(self, path: Path, *, exclusive: bool = True) -> None:
        check_file(path, readonly=False)
        self._lock = _locked(path) if exclusive else None
        try:
            super().__init__(path, patience=_PATIENCE)
        except BaseException:
            if self._lock:
                self._lock.release()
            raise
        self.transfer_queue = TransferQueue(self.db)

    def close(self) -> None:
        """Close the connection and let another process write."""
        super().close()
        if self._lock:
            self._lock.release()

    # -- queue -----------------------------------------------------------------------------

    def add_study(self, study: Study, runs: Sequence[tuple[Run, RunKeys]]) -> Queued:
        """Put a study and its runs into the queue, in one transaction.

        A run that is stored already, from this or another study, is shared: finished ones
        are not computed again, failed and cancelled ones wait again.
        """
        with self.db.atomic():
            study_id = self._upsert_study(study)
            self.db.execute("DELETE FROM study_runs WHERE study_id = ?", (study_id,))
            ids = self._upsert_runs(runs)
            self.db.table("study_runs").insert_all(
                {"study_id": study_id, "run_id": run_id, "position": position}
                for position, run_id in enumerate(ids)
            )
            marks = ",".join("?" * len(ids))
            self.db.execute(
                f"UPDATE runs SET status = 'waiting', attempts = 0, {_NO_FAILURE} "
                f"WHERE id IN ({marks}) AND status IN ('failed', 'cancelled')",
                ids,
            )
            self._bring_back(ids)
            done = self._query(
                f"SELECT count(*) AS n FROM runs WHERE status = 'finished' AND id IN ({marks})",
                ids,
            )
            self._judge_old(ids)
        return Queued(study_id, tuple(ids), int(done[0]["n"]))

    def _bring_back(self, run_ids: Sequence[int]) -> None:
        marks = ",".join("?" * len(run_ids))
        hidden = self._query(
            f"SELECT run_id FROM annotations WHERE deleted AND run_id IN ({marks})", run_ids
        )
        if hidden:
            self.set_deleted([row["run_id"] for row in hidden], deleted=False)

    def _judge_old(self, run_ids: Sequence[int]) -> None:
        """Take the verdicts of finished runs that were stored before there were any."""
        rows = self._query(
            "SELECT id FROM runs WHERE status = 'finished' AND verdict IS NULL "
            "AND id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(run_ids)),),
        )
        for row in rows:
            refresh_verdicts(self.db, row["id"])

    def _upsert_study(self, study: Study) -> int:
        key = content_key("study", study.to_dict())
        rows = self._query("SELECT id FROM studies WHERE key = ?", (key,))
        if rows:
            self.db.execute("UPDATE studies SET created = ? WHERE id = ?", (now(), rows[0]["id"]))
            return int(rows[0]["id"])
        table = self.db.table("studies").insert(
            {"key": key, "name": study.name, "spec": json.dumps(study.to_dict()), "created": now()}
        )
        return int(str(table.last_pk))

    def _upsert_runs(self, runs: Sequence[tuple[Run, RunKeys]]) -> list[int]:
        """The ids of these runs, in order; those not stored yet are put behind the others."""
        wanted: dict[str, tuple[Run, RunKeys]] = {}
        for run, keys in runs:  # two models with the same weights give one run
            wanted.setdefault(keys.run, (run, keys))
        known = self._ids(wanted)
        last = int(self._query("SELECT coalesce(max(position), 0) AS n FROM runs")[0]["n"])
        fresh = [
            {**_columns(run, keys), "position": last + place}
            for place, (run, keys) in enumerate(
                (both for key, both in wanted.items() if key not in known), 1
            )
        ]
        if fresh:
            names = ", ".join(fresh[0])
            values = ", ".join(f":{name}" for name in fresh[0])
            self.db.conn.executemany(
                f"INSERT INTO runs ({names}, seed, steps) VALUES ({values}, "
                "json_extract(:spec, '$.seed'), json_extract(:spec, '$.attack.params.steps'))",
                fresh,
            )
            known = self._ids(wanted)
        return [known[key] for key in wanted]

    def _ids(self, keys: Iterable[str]) -> dict[str, int]:
        rows = self._query(
            "SELECT key, id FROM runs WHERE key IN (SELECT value FROM json_each(?))",
            (json.dumps(list(keys)),),
        )
        return {row["key"]: row["id"] for row in rows}

    def next_waiting(self, among: Sequence[int] | None = None) -> int | None:
        """The first waiting run that is not deleted, of all or of these."""
        only = "" if among is None else f"AND id IN ({','.join('?' * len(among))})"
        rows = self._query(
            f"SELECT id FROM runs WHERE status = 'waiting' AND {NOT_DELETED} {only} "
            "ORDER BY position LIMIT 1",
            among or (),
        )
        return int(rows[0]["id"]) if rows else None

    def set_status(self, run_ids: Sequence[int], status: str, only: Sequence[str]) -> list[int]:
        """Move those runs that are in one of the states ``only``; gives the ids moved."""
        marks = ",".join("?" * len(run_ids))
        states = ",".join("?" * len(only))
        with self.db.atomic():
            rows = self._query(
                f"UPDATE runs SET status = ?, attempts = 0, {_NO_FAILURE} "
                f"WHERE id IN ({marks}) AND status IN ({states}) RETURNING id",
                (status, *run_ids, *only),
            )
        return [int(row["id"]) for row in rows]

    def recover(self) -> list[int]:
        """Put runs that a dead process left running back into the queue; gives their ids.

        A run whose process ended ``MOST_ATTEMPTS`` times without a batch in between fails
        instead.
        """
        with self.db.atomic():
            self.db.execute(
                "UPDATE runs SET status = 'failed', finished = ?, message = ?, hint = ? "
                "WHERE status = 'running' AND attempts >= ?",
                (
                    now(),
                    "The worker process died each time it worked on this run.",
                    "Lower the number of images or check the memory, then retry.",
                    MOST_ATTEMPTS,
                ),
            )
            rows = self._query(
                "UPDATE runs SET status = 'waiting' WHERE status = 'running' RETURNING id"
            )
            self.transfer_queue.recover(MOST_ATTEMPTS)
        return [int(row["id"]) for row in rows]

    def move(self, run_ids: Sequence[int], to_front: bool) -> None:
        """Move waiting runs to the front or the end of the queue; among them the order stays."""
        bound = "min(position) - 1" if to_front else "max(position) + 1"
        with self.db.atomic():
            self.db.conn.executemany(
                f"UPDATE runs SET position = (SELECT {bound} FROM runs) WHERE id = ?",
                [(run_id,) for run_id in (reversed(run_ids) if to_front else run_ids)],
            )

    # -- one run ---------------------------------------------------------------------------

    def start_run(self, run_id: int, total: int) -> None:
        """A run leaves the queue."""
        with self.db.atomic():
            self.db.execute(
                "UPDATE runs SET status = 'running', started = ?, total = ?, "
                f"attempts = attempts + 1, {_NO_FAILURE} WHERE id = ?",
                (now(), total, run_id),
            )

    def end_run(self, run_id: int, status: str, **columns: Any) -> None:
        """A run ends: finished with its result columns, failed with its message, cancelled.

        Once finished it counts in the verdicts of all runs of its variant on its images.
        """
        environment = columns.pop("environment", None)
        values = {
            name: json.dumps(value) if isinstance(value, list | dict) else value
            for name, value in columns.items()
        }
        with self.db.atomic():
            if environment is not None:
                values["environment_id"] = environment_id(self.db, environment)
            self.db.table("runs").update(run_id, {"status": status, "finished": now(), **values})
            if status == "finished":
                measure_distance(self.db, run_id)
                refresh_verdicts(self.db, run_id)

    def add_flag(self, run_id: int, flag: FlagRow) -> None:
        """A finished run gets a flag more, unless it has one of that id; it comes first."""
        flags = self.run(run_id)["flags"]
        if flag["id"] not in {one["id"] for one in flags}:
            with self.db.atomic():
                self.db.table("runs").update(run_id, {"flags": json.dumps([flag, *flags])})
                refresh_verdicts(self.db, run_id)

    def add_batch(
        self, run_id: int, batch: NewBatch, samples: Sequence[SampleRow], kept: Arrays | None
    ) -> None:
        """Store the verdicts of one batch; its images lie on disk before the rows exist."""
        start = batch["start"]
        keeps = kept is not None and any(len(one) for one in kept.values())
        file = batch_file(run_id, start)
        checksum = self._write(file, kept) if kept is not None and keeps else ""
        with self.db.atomic():
            if checksum:
                self._remember(file, checksum)
            self.db.table("batches").insert(
                {
                    **batch,
                    "run_id": run_id,
                    "telemetry": packed(batch["telemetry"]),
                    "notes": json.dumps(batch["notes"]),
                }
            )
            self.db.table("samples").insert_all(
                {**row, "run_id": run_id, "place": start + offset}
                for offset, row in enumerate(samples)
            )
            seal_batch(self.db, run_id, start)
            # Progress: whatever ended the process before, this run is not what it dies of.
            self.db.execute(
                "UPDATE runs SET done = ?, attempts = 1 WHERE id = ?",
                (start + len(samples), run_id),
            )

    def clear_batches(self, run_id: int) -> None:
        """Forget the partial work of a run."""
        with self.db.atomic():
            for table in ("batches", "samples"):
                self.db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
            self.db.execute("DELETE FROM files WHERE path LIKE ?", (f"runs/{run_id}/%",))
            self.db.execute("UPDATE runs SET done = 0 WHERE id = ?", (run_id,))
        shutil.rmtree(self._run_folder(run_id), ignore_errors=True)

    def batches(self, run_id: int) -> list[BatchRow]:
        """The stored batches of a run, in order: start, size, seconds, notes."""
        rows = self._query(
            "SELECT start, size, seconds, notes FROM batches WHERE run_id = ? ORDER BY start",
            (run_id,),
        )
        try:
            return [cast(BatchRow, {**row, "notes": json.loads(row["notes"])}) for row in rows]
        except ValueError:
            raise damaged(f"notes of run {run_id}") from None

    def refresh_verdicts(self, run_id: int) -> None:
        """Judge a run again, and all that share variant and images with it."""
        refresh_verdicts(self.db, run_id)

    # -- stages ----------------------------------------------------------------------------

    def put_stage(self, key: str, kind: str, payload: Payload, seconds: float) -> None:
        """Store what a stage gave."""
        with self.db.atomic():
            self.db.table("stages").upsert(
                {
                    "key": key,
                    "kind": kind,
                    "payload": json.dumps(payload),
                    "seconds": seconds,
                    "created": now(),
                },
                pk="key",
            )
            seal_rows(self.db, "stages", "key = ?", (key,))

    def keep_images(self, data_key: str, arrays: Arrays) -> None:
        """Store the clean images that the kept examples of all runs on this data refer to."""
        file = images_file(data_key)
        if not (self.artifacts / file).exists():
            checksum = self._write(file, arrays)
            with self.db.atomic():
                self._remember(file, checksum)

    def variant_folder(self, variant_key: str) -> Path:
        """Where a compressed variant is stored, in a folder that is this database's."""
        artifacts.claim(self.artifacts, self.path, database_id(self.db))
        return super().variant_folder(variant_key)

    def _write(self, file: str, arrays: Arrays) -> str:
        artifacts.claim(self.artifacts, self.path, database_id(self.db))
        return artifacts.write_arrays(self.artifacts / file, arrays)

    def _remember(self, file: str, checksum: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (file, checksum))


def _columns(run: Run, keys: RunKeys) -> dict[str, Any]:
    """What a run is when it is queued."""
    return {
        "key": keys.run,
        "variant_key": keys.variant,
        "data_key": keys.data,
        "spec": run.model_dump_json(),
        "created": now(),
        "dataset": run.dataset.label,
        "model": run.model,
        "compression": run.compression,
        "attack": run.attack.label,
        "eps": run.attack.eps,
        "norm": run.attack.norm,
        "attack_id": run.attack.name,
        "recipe": json.dumps(in_words(run.recipe)),
    }
