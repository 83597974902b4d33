"""Looks a database over, and mends what can be mended without making anything up.

Checked are SQLite's own integrity, seals, rows that point nowhere or are gone, telemetry, the
checksums of files, runs against their specs, their keys and the verdicts on their images, and
files that no row points at.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from engine.errors import StoreError
from engine.specs.study import content_key
from engine.store import artifacts, missing
from engine.store.database import ResultsDatabase
from engine.store.faults import Fault
from engine.store.kept_images import batch_file, checksums, images_file
from engine.store.seals import RUN, check_batches, fits, seal_rows
from engine.store.spec_check import keys, specs
from engine.store.store import Store
from engine.store.telemetry import packed, read_telemetry
from engine.store.writer import Writer

_TOLERANCE = 1e-9
"""How far a stored share may be from the one that its images give; both are doubles."""


_PASSES = 3

_RESULTS = (*RUN[RUN.index("n") : RUN.index("flags")], "verdict", "checks", "environment_id")
"""Columns that a run gets when it finishes."""


def check(store: Store) -> list[Fault]:
    """Everything that is wrong with a database and its folder; empty if all is well."""
    broken = [row["integrity_check"] for row in store.db.query("PRAGMA integrity_check")]
    if broken != ["ok"]:
        return [Fault(f"The file is damaged: {line}.") for line in broken]
    return [
        *_sealed(store.db),
        *_dangling(store.db),
        *_studies(store.db),
        *_telemetry(store.db),
        *_batches(store.db),
        *missing.stages(store.db, _again),
        *missing.pairs(store.db),
        *_files(store),
        *specs(store.db),
        *keys(store.db),
        *_verdicts(store.db),
        *_orphans(store),
    ]


def repair(store: Writer) -> Path | None:
    """Mend what can be mended, after a copy of the database was made; gives the copy.

    What was mended can leave something else to mend, such as the files of a row that is gone.
    Files that are taken out of use are moved into a folder ``removed``, not deleted.

    Raises:
        StoreError: the copy cannot be written; nothing was changed then.
    """
    copy = None
    for _ in range(_PASSES):
        cures = [fault.mend for fault in check(store) if fault.mend is not None]
        if not cures:
            break
        copy = copy or _back_up(store)
        with store.db.atomic():
            for mend in cures:
                mend(store)
    return copy


def _back_up(store: Writer) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    copy = store.path.with_name(f"{store.path.name}.before-{stamp}")
    try:
        with closing(sqlite3.connect(copy)) as target:
            store.db.conn.backup(target)
    except sqlite3.Error as error:
        copy.unlink(missing_ok=True)
        raise StoreError(
            f"The copy {copy} cannot be written: {error}.", "Make room on the disk, or ask there."
        ) from None
    return copy


def _sealed(db: ResultsDatabase) -> Iterator[Fault]:
    """Rows that are not what was written."""
    columns = db.run_columns
    for run_id in damaged_runs(db):
        yield Fault(
            f"What is stored of run {run_id} is not what was written.",
            "The run waits, and is computed anew.",
            partial(_again, run_id=run_id),
        )
    for (key,) in db.tuples(f"SELECT key FROM stages WHERE NOT {fits('stages', columns)}"):
        yield Fault(
            f"What is stored of the stage {key[:12]} is not what was written.",
            "It is deleted, and computed anew where it is needed.",
            partial(_run_sql, sql="DELETE FROM stages WHERE key = ?", given=(key,)),
        )
    if "seal" not in columns:
        return
    for pair in db.tuples(
        f"SELECT source_run, target_run FROM transfers WHERE NOT {fits('transfers', columns)}"
    ):
        yield Fault(
            f"What is stored of the examples of run {pair[0]} on run {pair[1]} is not what was "
            "written.",
            "The pair waits, and is judged anew.",
            partial(_run_sql, sql=_JUDGE_AGAIN, given=pair),
        )
    for (run_id,) in db.tuples(_OF_ENVIRONMENTS):
        yield Fault(
            f"The environment of run {run_id} is not what was written.",
            "The run forgets it.",
            partial(_forget_environment, run_id=run_id),
        )


def _batches(db: ResultsDatabase) -> Iterator[Fault]:
    """Runs whose batches are missing, or whose verdicts are not what was written."""
    if "seal" not in db.run_columns:
        return
    for run_id, judged, size in list(db.tuples(_SIZES)):
        fault = ""
        try:
            check_batches(db, run_id)
        except StoreError as error:
            fault = error.message
        if judged != size:
            fault = f"Run {run_id} has verdicts on {judged} images and batches of {size}."
        if fault:
            yield Fault(
                fault, "The run waits, and is computed anew.", partial(_again, run_id=run_id)
            )


def _studies(db: Database) -> Iterator[Fault]:
    """Studies that are not those of their keys."""
    for row in db.query("SELECT id, name, key, spec FROM studies"):
        try:
            spec = json.loads(row["spec"])
            same = content_key("study", spec) == row["key"] and spec["name"] == row["name"]
        except (ValueError, TypeError, LookupError):
            same = False
        if not same:
            yield Fault(f"What is stored of study {row['id']} is not what was written.")


def damaged_runs(db: ResultsDatabase) -> list[int]:
    """The runs that do not fit their seals."""
    rows = db.tuples(f"SELECT id FROM runs WHERE NOT {fits('runs', db.run_columns)} ORDER BY id")
    return [run_id for (run_id,) in rows]


_JUDGE_AGAIN = (
    "UPDATE transfers SET status = 'waiting', kept = NULL, broken = NULL, n = NULL, "
    "fooled = NULL, wrong = NULL, seal = NULL WHERE source_run = ? AND target_run = ?"
)
_OF_ENVIRONMENTS = (
    "SELECT runs.id FROM runs LEFT JOIN environments ON environments.id = environment_id "
    "WHERE environment_id NOT NULL AND (digest IS NULL OR "
    "digest != crumple_digest(CAST(content AS BLOB)))"
)
_SIZES = (
    "SELECT id, (SELECT count(*) FROM samples WHERE run_id = id), "
    "(SELECT coalesce(sum(size), 0) FROM batches WHERE run_id = id) FROM runs WHERE done > 0"
)


def _run_sql(store: Writer, sql: str, given: Sequence[object]) -> None:
    store.db.execute(sql, tuple(given))


def _forget_environment(store: Writer, run_id: int) -> None:
    store.db.execute("UPDATE runs SET environment_id = NULL WHERE id = ?", (run_id,))
    seal_rows(store.db, "runs", "id = ? AND status = 'finished'", (run_id,))


def _dangling(db: Database) -> Iterator[Fault]:
    """Rows that belong to a row that is not there."""
    rows = list(db.query("PRAGMA foreign_key_check"))
    for (table, parent), count in Counter((row["table"], row["parent"]) for row in rows).items():
        yield Fault(
            f"{count} of the rows of {table} belong to rows of {parent} that are not there.",
            "They are deleted.",
            partial(_delete, table=table, parent=parent),
        )


def _delete(store: Writer, table: str, parent: str) -> None:
    for key in list(store.db.query(f"PRAGMA foreign_key_list({table})")):
        if key["table"] == parent:
            store.db.execute(
                f"DELETE FROM {table} WHERE {key['from']} NOT IN (SELECT {key['to']} FROM {parent})"
            )


def _telemetry(db: Database) -> Iterator[Fault]:
    """Batches whose telemetry cannot be read."""
    for row in db.query("SELECT run_id, start, telemetry FROM batches"):
        run_id, start = row["run_id"], row["start"]
        try:
            read_telemetry(run_id, start, row["telemetry"])
        except StoreError as error:
            yield Fault(
                error.message,
                "The curve of the run keeps its accuracies and forgets loss and margin.",
                partial(_forget_telemetry, run_id=run_id, start=start),
            )


def _forget_telemetry(store: Writer, run_id: int, start: int) -> None:
    store.db.execute(
        "UPDATE batches SET telemetry = ? WHERE run_id = ? AND start = ?",
        (packed([]), run_id, start),
    )


def _files(store: Store) -> Iterator[Fault]:
    """Files that are missing or not what was written."""
    for path, checksum in checksums(store.db).items():
        try:
            artifacts.read_arrays(store.artifacts / path, checksum)
        except StoreError as error:
            for run_id in _runs_with(store.db, path):
                yield Fault(
                    f"Run {run_id} lost images: {error.message}",
                    "The run keeps its numbers and forgets its images.",
                    partial(_forget, run_id=run_id, path=path),
                )


def _runs_with(db: Database, path: str) -> list[int]:
    kind, name = path.split("/")[:2]
    if kind == "runs":
        return [int(name)]
    key = Path(name).stem
    rows = db.query("SELECT id FROM runs WHERE data_key = ? AND done > 0", (key,))
    return [row["id"] for row in rows]


def _forget(store: Writer, run_id: int, path: str) -> None:
    store.db.execute("DELETE FROM files WHERE path = ? OR path LIKE ?", (path, f"runs/{run_id}/%"))
    _remove(store, store.artifacts / "runs" / str(run_id))
    _remove(store, store.artifacts / path)


def _remove(store: Writer, path: Path) -> None:
    if path.exists():
        target = store.artifacts / "removed" / path.relative_to(store.artifacts)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in target.parent.glob(f"{target.name}*"))
        path.rename(target.with_name(f"{target.name}.{number}"))


def _verdicts(db: Database) -> Iterator[Fault]:
    """Finished runs whose numbers do not follow from the verdicts on their images."""
    rows = db.query(
        "SELECT runs.id, n, robust_accuracy, count(place) AS images, "
        "coalesce(sum(broken), 0) AS broken FROM runs LEFT JOIN samples ON run_id = runs.id "
        "WHERE status = 'finished' GROUP BY runs.id"
    )
    for row in rows:
        n, stored = row["n"], row["robust_accuracy"]
        share = 1 - row["broken"] / n if isinstance(n, int) and n else None
        agree = share == stored or (
            isinstance(stored, float | int)
            and share is not None
            and abs(share - stored) < _TOLERANCE
        )
        if row["images"] == row["n"] and agree:
            continue
        yield Fault(
            f"Run {row['id']} says {_percent(stored)} of {row['n']} images, and the verdicts on "
            f"{row['images']} images say {_percent(share)}.",
            "The run waits, and is computed anew.",
            partial(_again, run_id=row["id"]),
        )


def _percent(share: object) -> str:
    return f"{share:.2%}" if isinstance(share, float | int) else "nothing"


def _again(store: Writer, run_id: int) -> None:
    _remove(store, store.artifacts / "runs" / str(run_id))
    store.clear_batches(run_id)
    empty = ", ".join(f"{name} = NULL" for name in _RESULTS)
    store.db.execute(
        f"UPDATE runs SET status = 'waiting', attempts = 0, seal = NULL, flags = '[]', {empty} "
        "WHERE id = ?",
        (run_id,),
    )


def _orphans(store: Store) -> Iterator[Fault]:
    """Files of runs and images that no row points at."""
    batches = store.db.query("SELECT run_id, start FROM batches")
    wanted = {batch_file(row["run_id"], row["start"]) for row in batches}
    keys = store.db.query("SELECT DISTINCT data_key FROM runs")
    wanted |= {images_file(row["data_key"]) for row in keys}
    for kind in ("runs", "images"):
        for path in sorted((store.artifacts / kind).rglob("*")):
            name = path.relative_to(store.artifacts).as_posix()
            if path.is_file() and name not in wanted:
                yield Fault(
                    f"Nothing points at the file {path}.",
                    "It is moved to the folder “removed”.",
                    partial(_remove, path=path),
                )
