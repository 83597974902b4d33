"""Seals: a checksum beside what was written, so that a bit which flipped is no other number.

SQLite has none of its own. A seal is written with the row or after it; a change that goes through
SQL breaks it (triggers set it to NULL, and what has no seal is not looked at), so only what
changed on the disk does not fit its seal.
"""

from __future__ import annotations

import marshal
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlite_utils import Database

from engine.errors import StoreError

_OF_RUN = (
    "key variant_key data_key spec status created started finished dataset model compression "
    "recipe attack attack_id eps norm n compression_rate parameters nonzero_parameters size_bytes "
    "dense_bytes file_bytes achieved_sparsity weight_bits clean_accuracy robust_accuracy ci_low "
    "ci_high transfer_accuracy transfer_n black_box_accuracy black_box_n avg_perturbation_l2 "
    "avg_perturbation_linf queries_per_sample seconds median_distance flags verdict checks seed "
    "steps environment_id"
)
RUN = tuple(_OF_RUN.split())
READ = (*RUN, "seal")
"""Of ``runs``: what ``is_whole`` looks at."""

_STAGE = ("key", "kind", "payload", "seconds")
_TRANSFER = ("key", "status", "kept", "broken", "n", "fooled", "wrong", "seconds")
_OF_SAMPLE = (
    '"index" label clean_prediction adversarial_prediction clean_confidence '
    "adversarial_confidence broken l2 linf forwards backwards broken_at_step"
)
_SAMPLE = tuple(_OF_SAMPLE.split())
_COLUMNS = {"runs": RUN, "stages": _STAGE, "transfers": _TRANSFER}

TRIGGERS = (
    *(
        f"CREATE TRIGGER {table}_breaks_seal AFTER UPDATE OF {', '.join(columns)} ON {table} "
        "WHEN OLD.seal IS NOT NULL AND NEW.seal IS OLD.seal "
        f"BEGIN UPDATE {table} SET seal = NULL WHERE {where}; END"
        for table, columns, where in (
            ("runs", RUN, "id = NEW.id"),
            ("stages", _STAGE, "key = NEW.key"),
            (
                "transfers",
                _TRANSFER,
                "source_run = NEW.source_run AND target_run = NEW.target_run",
            ),
        )
    ),
    *(
        f"CREATE TRIGGER samples_{event.lower()}_breaks_seal AFTER {event} ON samples "
        "BEGIN UPDATE batches SET seal = NULL WHERE run_id = OLD.run_id AND seal IS NOT NULL; END"
        for event in ("UPDATE", "DELETE")
    ),
)


def seal(*values: Any) -> int:
    """The seal of some values as SQLite gives them."""
    # Format 2 tells ints, floats and texts apart, has no references and is always the same.
    return zlib.crc32(marshal.dumps(values, 2))


def is_whole(row: Sequence[Any]) -> bool:
    """Whether a run, of which ``READ`` comes first, is what was written; True if nobody knows."""
    stored = row[_SEALED]
    return stored is None or stored == seal(*row[:_SEALED])


_SEALED = len(RUN)


def prepare(connection: sqlite3.Connection) -> None:
    """Let SQL of a connection make seals."""
    connection.create_function("crumple_seal", -1, seal, deterministic=True)


def made(table: str, name: str | None = None) -> str:
    """SQL for the seal that a row should have."""
    columns = ", ".join(f"{name or table}.{column}" for column in _COLUMNS[table])
    return f"crumple_seal({columns})"


def fits(table: str, columns: Iterable[str], name: str | None = None) -> str:
    """SQL for whether a row is what was written; 1 where nobody knows.

    Args:
        columns: those that the table has; of an earlier version, only read, it has no seals.
    """
    name = name or table
    if "seal" not in columns:
        return "1"
    return f"({name}.seal IS NULL OR {name}.seal = {made(table, name)})"


def seal_rows(db: Database, table: str, where: str, given: Sequence[object] = ()) -> None:
    """Seal what stands in these rows now."""
    db.execute(f"UPDATE {table} SET seal = {made(table)} WHERE {where}", tuple(given))


def seal_batch(db: Database, run_id: int, start: int) -> None:
    """Seal the verdicts on the images of a batch."""
    (size,) = db.execute(
        "SELECT size FROM batches WHERE run_id = ? AND start = ?", (run_id, start)
    ).fetchone()
    db.execute(
        "UPDATE batches SET seal = ? WHERE run_id = ? AND start = ?",
        (_of_samples(db, run_id, start, size), run_id, start),
    )


def check_batches(db: Database, run_id: int) -> None:
    """See that the verdicts of a run are what was written, and that its batches are there.

    Raises:
        StoreError: they are not; the message names run and batch.
    """
    (judged,) = db.execute("SELECT count(*) FROM samples WHERE run_id = ?", (run_id,)).fetchone()
    size = check_verdicts(db, run_id, 0, sys.maxsize)
    if judged and size != judged:
        raise damaged(f"batches of run {run_id}")


def check_verdicts(db: Database, run_id: int, first: int, last: int) -> int:
    """See that the verdicts on images at places from ``first`` to ``last`` are what was written.

    Returns:
        How many images the batches have that hold them.

    Raises:
        StoreError: they are not.
    """
    batches = db.execute(
        "SELECT start, size, seal FROM batches WHERE run_id = ? AND start < ? AND start + size > ?",
        (run_id, last, first),
    ).fetchall()
    for start, size, expected in batches:
        if expected is not None and _of_samples(db, run_id, start, size) != expected:
            raise damaged(f"verdicts of run {run_id}, batch from image {start},")
    return sum(size for _, size, _ in batches)


def _of_samples(db: Database, run_id: int, start: int, size: int) -> int:
    rows = db.execute(
        f"SELECT {', '.join(_SAMPLE)} FROM samples "
        "WHERE run_id = ? AND place >= ? AND place < ? ORDER BY place",
        (run_id, start, start + size),
    )
    settled = []
    if has_settlers(db):
        # Only where there are some, so that seals of before there were any still fit.
        settled = db.execute(
            "SELECT place, settled_by FROM samples WHERE run_id = ? AND place >= ? AND place < ? "
            "AND settled_by != '' ORDER BY place",
            (run_id, start, start + size),
        ).fetchall()
    return seal(*rows.fetchall(), *settled)


def has_settlers(db: Database) -> bool:
    """Whether samples say who settled them; of an earlier version, only read, they do not."""
    return any(name == "settled_by" for _, name, *_ in db.execute("PRAGMA table_info(samples)"))


def damaged(what: str) -> StoreError:
    """What is told of a row that is not what was written."""
    return StoreError(
        f"The {what} are not what was written; the database is damaged.",
        "Restore it from a copy, or mend it with: crumple check --repair.",
    )


def gone(what: str, run_id: int) -> StoreError:
    """What is told of a row that a finished run had."""
    return StoreError(
        f"The {what} of run {run_id} is missing; the database is damaged.",
        "Restore it from a copy, or mend it with crumple check --repair and run its study again.",
    )
