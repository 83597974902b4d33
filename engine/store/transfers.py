"""Transfers: the examples of one run judged on the variant of another; their own table.

A row is a pair of runs that differ in nothing but the variant. It waits, is judged, and ends
like a run does, so that what was interrupted continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from sqlite_utils import Database

from engine.statistics.intervals import wilson
from engine.store.columns import TRANSFER_COLUMNS, Payload, TransferRow
from engine.store.database import ResultsDatabase
from engine.store.result_rows import read_json
from engine.store.seals import fits, seal_rows
from engine.store.stage_keys import transfer_key

Row = TypeVar("Row", bound=Mapping[str, Any])

_ROWS = """
    SELECT transfers.*, source.dataset, source.attack, source.eps, source.norm,
        source.model AS source_model, source.compression AS source_compression,
        target.model AS target_model, target.compression AS target_compression,
        {source_recipe} AS source_recipe, {target_recipe} AS target_recipe, {whole} AS whole
    FROM transfers
    JOIN runs AS source ON source.id = source_run JOIN runs AS target ON target.id = target_run
    LEFT JOIN annotations AS source_notes ON source_notes.run_id = source_run
    LEFT JOIN annotations AS target_notes ON target_notes.run_id = target_run
    WHERE coalesce(source_notes.deleted, 0) = 0 AND coalesce(target_notes.deleted, 0) = 0
"""


_IN_PLACE: Payload = {
    **dict.fromkeys(("kept", "broken", "n", "fooled", "eps", "source_recipe", "target_recipe")),
    **dict.fromkeys(("dataset", "attack", "norm", "source_model", "source_compression"), "?"),
    **dict.fromkeys(("target_model", "target_compression"), "?"),
    "status": "failed",
    "message": "What is stored of this pair is not what was written: the database is damaged.",
}
"""What is given of a pair that does not fit its seal, or of whose runs one does not."""


class Pair(NamedTuple):
    """A source run, a target run and the content key of what is judged."""

    source: int
    target: int
    key: str


def groups_alike(rows: Iterable[Row]) -> list[list[Row]]:
    """The runs of a study of which each is paired with each: they differ in the variant alone.

    Args:
        rows: as ``RunRow``; used are ``status``, ``deleted``, ``data_key`` and ``spec``.
    """
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        spec = row["spec"]
        again = spec.get("attack_seed") is not None  # only tells how much an attack varies
        if row["status"] == "finished" and not row["deleted"] and spec["keep_images"] and not again:
            attack = json.dumps(spec["attack"], sort_keys=True)
            groups.setdefault((row["data_key"], attack, spec["seed"]), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def pair_of(source: Mapping[str, Any], target: Mapping[str, Any]) -> Pair:
    """The pair of two runs, as ``RunRow``."""
    return Pair(source["id"], target["id"], transfer_key(source["key"], target["variant_key"]))


def transfer_rows(
    db: ResultsDatabase, study_id: int | None, among: Iterable[int] | None = None
) -> list[TransferRow]:
    """``TRANSFER_COLUMNS`` of every pair of runs that is not deleted.

    Beside them ``source_recipe`` and ``target_recipe``: the steps in words (``StepWords``).

    Args:
        study_id: only the pairs of this study, in its order.
        among: only the pairs of two of these runs.
    """
    if "transfers" not in db.table_names():
        return []  # Opened readonly, a database of an earlier version stays as it is.
    known = db.run_columns
    ends = {
        f"{end}_recipe": f"{end}.recipe" if "recipe" in known else "NULL"
        for end in ("source", "target")
    }
    whole = (fits("transfers", known), *(fits("runs", known, end) for end in ("source", "target")))
    pairs = _ROWS.format(**ends, whole=" AND ".join(whole))
    if among is not None:
        pairs += (
            " AND source_run IN (SELECT value FROM json_each(:runs))"
            " AND target_run IN (SELECT value FROM json_each(:runs))"
        )
    given = {"runs": json.dumps(None if among is None else list(among)), "study": study_id}
    if study_id is None:
        found = db.query(f"{pairs} ORDER BY source_run, target_run", given)
    else:
        found = db.query(
            f"SELECT pairs.* FROM ({pairs}) AS pairs "
            "JOIN study_runs AS a ON a.run_id = source_run AND a.study_id = :study "
            "JOIN study_runs AS b ON b.run_id = target_run AND b.study_id = :study "
            "ORDER BY a.position, b.position",
            given,
        )
    return _with_shares([row if row["whole"] else {**row, **_IN_PLACE} for row in found])


def has_transfers(db: Database, among: Iterable[int]) -> bool:
    """Whether there is a pair of two of these runs."""
    if "transfers" not in db.table_names():
        return False
    found = db.execute(
        "SELECT 1 FROM transfers WHERE source_run IN (SELECT value FROM json_each(:runs)) "
        "AND target_run IN (SELECT value FROM json_each(:runs)) LIMIT 1",
        {"runs": json.dumps(list(among))},
    )
    return found.fetchone() is not None


def _with_shares(rows: Sequence[Payload]) -> list[TransferRow]:
    held = [
        None if None in (row["kept"], row["broken"]) else row["kept"] - row["broken"]
        for row in rows
    ]
    accuracy = _shares(
        ("accuracy", "accuracy_low", "accuracy_high"), held, [row["kept"] for row in rows]
    )
    rate = _shares(
        ("transfer_rate", "rate_low", "rate_high"),
        [row["fooled"] for row in rows],
        [row["n"] for row in rows],
    )
    told = []
    for row, *shares in zip(rows, accuracy, rate, strict=True):
        whole = {**row, **shares[0], **shares[1]}
        recipes = {
            f"{end}_recipe": read_json(row[f"{end}_recipe"], row[f"{end}_run"], "recipe")
            if row[f"{end}_recipe"] is not None
            else None
            for end in ("source", "target")
        }
        told.append(
            cast(TransferRow, {**{name: whole[name] for name in TRANSFER_COLUMNS}, **recipes})
        )
    return told


def _shares(
    names: Sequence[str], hits: Sequence[int | None], totals: Sequence[int | None]
) -> list[Payload]:
    """Shares with their 95 % Wilson intervals, under these names; None without images."""
    none: Payload = dict.fromkeys(names)
    there = [
        bool(n) and k is not None and 0 <= k <= (n or 0) for k, n in zip(hits, totals, strict=True)
    ]
    counts = np.array([k if has else 0 for k, has in zip(hits, there, strict=True)], float)
    trials = np.array([n if has else 1 for n, has in zip(totals, there, strict=True)], float)
    columns = ((counts / trials).tolist(), *(end.tolist() for end in wilson(counts, trials)))
    return [
        dict(zip(names, values, strict=True)) if has else none
        for has, values in zip(there, zip(*columns, strict=True), strict=True)
    ]


class TransferQueue:
    """The pairs that wait to be judged; for the one process that computes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def plan(self, pairs: Iterable[Pair]) -> None:
        """Let pairs wait whose content is not judged yet; failed and cancelled ones wait again.

        So do those of versions that counted what was misclassified and did not say which.
        """
        with self._db.atomic():
            self._db.conn.executemany(
                "INSERT INTO transfers (source_run, target_run, key) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET key = excluded.key, status = 'waiting', "
                "attempts = 0, message = NULL, kept = NULL, broken = NULL, n = NULL, "
                "fooled = NULL, seconds = NULL, finished = NULL, wrong = NULL "
                "WHERE key != excluded.key OR status IN ('failed', 'cancelled') "
                "OR (status = 'finished' AND wrong IS NULL)",
                pairs,
            )

    def waiting(self, study_id: int) -> list[Pair]:
        """The pairs of a study that wait; those with one target variant stand together."""
        rows = self._db.query(
            "SELECT source_run, target_run, transfers.key FROM transfers "
            "JOIN study_runs AS a ON a.run_id = source_run AND a.study_id = :study "
            "JOIN study_runs AS b ON b.run_id = target_run AND b.study_id = :study "
            "JOIN runs ON runs.id = target_run WHERE transfers.status = 'waiting' "
            "ORDER BY variant_key, target_run, source_run",
            {"study": study_id},
        )
        return [Pair(row["source_run"], row["target_run"], row["key"]) for row in rows]

    def next_study(self) -> int | None:
        """A study of which pairs wait."""
        rows = self._db.query(
            "SELECT a.study_id FROM transfers "
            "JOIN study_runs AS a ON a.run_id = source_run "
            "JOIN study_runs AS b ON b.run_id = target_run AND b.study_id = a.study_id "
            "WHERE transfers.status = 'waiting' LIMIT 1"
        )
        return next((int(row["study_id"]) for row in rows), None)

    def start(self, pairs: Sequence[Pair]) -> None:
        """These pairs are judged next; if the process dies, these are what it died of."""
        self._set(pairs, "status = 'running', attempts = attempts + 1", ())

    def finish(self, pair: Pair, counts: Payload) -> None:
        """Store ``kept``, ``broken``, ``n``, ``fooled`` and ``seconds`` of a pair."""
        columns = ", ".join(f"{name} = ?" for name in counts)
        with self._db.atomic():
            self._end([pair], "finished", f", {columns}", tuple(counts.values()))
            seal_rows(self._db, "transfers", "source_run = ? AND target_run = ?", pair[:2])

    def fail(self, pairs: Sequence[Pair], message: str) -> None:
        """These pairs cannot be judged."""
        self._end(pairs, "failed", ", message = ?", (message,))

    def leave(self, pairs: Sequence[Pair], status: str) -> None:
        """Of these pairs, those not judged go back to ``waiting``, or were ``cancelled``."""
        open_ = [pair for pair in pairs if self._is_open(pair)]
        self._set(open_, "status = ?, attempts = 0", (status,))

    def _is_open(self, pair: Pair) -> bool:
        return bool(
            self._db.execute(
                "SELECT count(*) FROM transfers WHERE source_run = ? AND target_run = ? "
                "AND status IN ('waiting', 'running')",
                (pair.source, pair.target),
            ).fetchone()[0]
        )

    def recover(self, max_attempts: int) -> None:
        """Let pairs wait again that a dead process left running, unless they ended it before."""
        with self._db.atomic():
            self._db.execute(
                "UPDATE transfers SET status = 'failed', message = ? "
                "WHERE status = 'running' AND attempts >= ?",
                ("The worker process died each time it judged this pair.", max_attempts),
            )
            self._db.execute("UPDATE transfers SET status = 'waiting' WHERE status = 'running'")

    def _end(self, pairs: Sequence[Pair], status: str, more: str, values: tuple[Any, ...]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._set(pairs, f"status = ?, finished = ?{more}", (status, now, *values))

    def _set(self, pairs: Sequence[Pair], assignments: str, values: tuple[Any, ...]) -> None:
        with self._db.atomic():
            for pair in pairs:
                self._db.execute(
                    f"UPDATE transfers SET {assignments} WHERE source_run = ? AND target_run = ?",
                    (*values, pair.source, pair.target),
                )
