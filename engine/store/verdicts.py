"""Verdicts of runs in the light of all that their repeat has of the same variant and images.

They are taken again for all runs of a variant whenever one of them finishes or its
transferred examples are judged, so that reading a table costs nothing more.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from engine.catalog.worst_case import WORST_CASE
from engine.statistics.intervals import FloatArray
from engine.statistics.run_verdict import Finding, judge, strong_kinds
from engine.statistics.run_verdict import who_broke as by_finding
from engine.statistics.worst_case import WorstCase
from engine.store.database import same_repeat
from engine.store.seals import fits, seal_rows

Row = dict[str, Any]
"""What a query gave."""

_TAKES_PART = """
    SELECT 1 FROM runs WHERE id = ? AND status = 'finished'
        AND EXISTS (SELECT 1 FROM samples WHERE run_id = runs.id)
"""

_SIBLINGS = f"""
    SELECT other.id, other.attack, other.eps, other.norm, other.spec, other.checks, other.flags,
        coalesce(deleted, 0) AS deleted
    FROM runs AS one JOIN runs AS other ON other.variant_key = one.variant_key
    LEFT JOIN annotations ON annotations.run_id = other.id
    LEFT JOIN environments AS there ON there.id = one.environment_id
    LEFT JOIN environments AS elsewhere ON elsewhere.id = other.environment_id
    WHERE one.id = ? AND other.status = 'finished' AND (other.data_key = one.data_key
        OR json_extract(elsewhere.content, '$.data_fingerprint')
            = json_extract(there.content, '$.data_fingerprint')) AND {{whole}}
        AND {same_repeat("other", "one")}
    ORDER BY other.id
"""


_TRANSFERS = """
    SELECT target_run, source_run, wrong, kept, source.norm, source.eps, source.attack
    FROM transfers JOIN runs AS source ON source.id = source_run
    LEFT JOIN annotations ON annotations.run_id = source_run
    WHERE target_run IN ({marks}) AND transfers.status = 'finished' AND source_run != target_run
        AND wrong IS NOT NULL AND coalesce(deleted, 0) = 0
    ORDER BY target_run, source_run
"""


def refresh_verdicts(db: Database, run_id: int) -> set[int]:
    """Judge all finished runs again that share repeat, variant and images with this one.

    What was deleted is judged too, so that it can be brought back, but is nobody's rival.

    Returns:
        The ids of the runs that were judged.
    """
    own, known = _findings(db, run_id)
    with db.atomic():
        for number, finding in own.items():
            verdict = judge(finding, [one for one in known if one is not finding])
            db.execute(
                "UPDATE runs SET verdict = ? WHERE id = ?",
                (json.dumps(verdict.to_dict()), number),
            )
        for number in {*own, run_id}:
            seal_rows(db, "runs", "id = ? AND status = 'finished'", (number,))
    return set(own)


def who_broke(db: Database, run_id: int) -> WorstCase | None:
    """Who broke what of the images of a finished run, in its threat model.

    Each attack on its variant that counts there, what checks broke, and transferred examples.
    None where the run is not finished, or has no ball.
    """
    own, known = _findings(db, run_id, alone=True)
    if run_id not in own:
        return None
    mine = own[run_id]
    every = known if any(one is mine for one in known) else [mine, *known]
    return by_finding(mine, [part for one in every for part in _apart(db, one, own)])


def _apart(db: Database, one: Finding, own: Mapping[int, Finding]) -> list[Finding]:
    """A worst case as those who settled its images; another finding as it is.

    Of a random variant it is one draw, of which no part counts by itself.
    """
    if one.attack != WORST_CASE or one is not own.get(one.run) or one.random:
        return [one]
    rows = db.execute("SELECT settled_by FROM samples WHERE run_id = ? ORDER BY place", (one.run,))
    settled_by = np.array([by for (by,) in rows])
    return [
        replace(
            one,
            title=f"{by} (run {one.run})",
            distances=np.where(settled_by == by, one.distances, np.nan),
            cascaded=True,
        )
        for by in dict.fromkeys(settled_by.tolist())
        if by and (one.distances[settled_by == by] > 0).any()
    ]


def _findings(
    db: Database, run_id: int, *, alone: bool = False
) -> tuple[dict[int, Finding], list[Finding]]:
    """What runs on the variant and images of this one found, by id, and all that counts there.

    With ``alone`` what a check broke stands by itself, without what its run broke before; not of
    a random variant, where it attacked all images and is a draw of its own.
    """
    siblings = _siblings(db, run_id)
    distances = _distances(db, siblings)
    length = len(distances.get(run_id, ()))
    siblings = [row for row in siblings if length and len(distances[row["id"]]) == length]
    random = any(_is_random(row) for row in siblings)
    own = {row["id"]: _finding(row, distances[row["id"]], random) for row in siblings}
    kept = [row for row in siblings if not row["deleted"]]
    rivals = {row["id"]: own[row["id"]] for row in kept}
    checked = _checked(kept, own, alone=alone and not random)
    return own, [*rivals.values(), *checked, *_transferred(db, rivals, length)]


def _siblings(db: Database, run_id: int) -> list[Row]:
    """The finished runs of the same repeat, variant and images, with this one.

    None where this one has no part in verdicts, which is seen without reading the others: of a
    thousand such runs that are deleted together each would read all of its variant.
    """
    if not db.execute(_TAKES_PART, (run_id,)).fetchone():
        return []
    return list(db.query(_SIBLINGS.format(whole=fits("runs", ("seal",), "other")), (run_id,)))


def refresh_around(db: Database, run_ids: Sequence[int]) -> None:
    """Judge again all that these runs are rivals of, also by their transferred examples."""
    marks = ",".join("?" * len(run_ids))
    targets = f"SELECT DISTINCT target_run FROM transfers WHERE source_run IN ({marks})"
    left = {*run_ids, *(number for (number,) in db.execute(targets, tuple(run_ids)))}
    while left:
        left -= refresh_verdicts(db, left.pop())


def _is_random(row: Row) -> bool:
    return any(flag["id"] == "random-output" for flag in json.loads(row["flags"] or "[]"))


def _finding(row: Row, distances: FloatArray, random: bool) -> Finding:
    attack = json.loads(row["spec"])["attack"]
    return Finding(
        run=row["id"],
        title=f"{row['attack']} (run {row['id']})",
        norm=row["norm"],
        eps=row["eps"],
        distances=distances,
        attack=attack["name"],
        kinds=strong_kinds(attack),
        random=random,
    )


def _distances(db: Database, rows: Iterable[Row]) -> dict[int, FloatArray]:
    """(N) distances of the examples of runs, by id, each in the norm of its run."""
    norms = {row["id"]: row["norm"] for row in rows}
    marks = ",".join("?" * len(norms))
    found: dict[int, list[float]] = {number: [] for number in norms}
    samples = db.execute(
        "SELECT run_id, broken, clean_prediction != label, l2, linf FROM samples "
        f"WHERE run_id IN ({marks}) ORDER BY run_id, place",
        tuple(norms),
    )
    for number, broken, wrong, l2, linf in samples:
        distance = linf if norms[number] == "Linf" else l2
        found[number].append(0.0 if wrong else distance if broken else np.inf)
    return {number: np.array(values, float) for number, values in found.items()}


def _checked(
    rows: Iterable[Row], own: Mapping[int, Finding], *, alone: bool = False
) -> list[Finding]:
    """What the checks of runs broke of their survivors, added to what the runs broke."""
    found = []
    for row in rows:
        made = json.loads(row["checks"] or "{}").get("survivors", [])
        for check in made:
            if not check["broken"] and not check.get("missed"):
                continue
            distances = own[row["id"]].distances.copy()
            if alone:
                distances[:] = np.nan
            distances[check["broken"]] = row["eps"]
            distances[check.get("missed", [])] = np.inf
            title = f"{check['attack']} on what {own[row['id']].title} left"
            found.append(Finding(row["id"], title, row["norm"], row["eps"], distances))
    return found


def _transferred(db: Database, own: Mapping[int, Finding], length: int) -> list[Finding]:
    """Examples of other variants that break this one, those tried on one run together."""
    marks = ",".join("?" * len(own))
    pairs = list(db.query(_TRANSFERS.format(marks=marks), tuple(own)))
    random = any(finding.random for finding in own.values())
    # Examples of several sources are several draws of a random variant.
    by_target = itertools.groupby(
        pairs, key=lambda row: (row["target_run"], row["source_run"] if random else 0)
    )
    return [_together(db, list(rows), length) for _, rows in by_target]


def _together(db: Database, pairs: Sequence[Row], length: int) -> Finding:
    """The closest example that any source gives of each image that was tried."""
    norm, eps = pairs[0]["norm"], pairs[0]["eps"]
    far = (
        _distances(db, ({"id": row["source_run"], "norm": norm} for row in pairs))
        if (eps is None)
        else {}
    )
    found, most = np.full(length, np.nan), (-1, 0)
    for row in pairs:
        wrong = unpacked(row["wrong"], row["kept"])
        reach = far[row["source_run"]][: row["kept"]] if eps is None else eps
        found[: row["kept"]] = np.fmin(found[: row["kept"]], np.where(wrong, reach, np.inf))
        most = max(most, (int(wrong.sum()), row["source_run"]))
    sources = f"run {most[1]}" if len(pairs) == 1 else f"run {most[1]} and {len(pairs) - 1} more"
    title = f"{pairs[0]['attack']} transferred from {sources}"
    return Finding(most[1], title, norm, eps, found)


def packed(wrong: NDArray[np.bool_]) -> bytes:
    """(K) bool as the store keeps it."""
    return np.packbits(wrong).tobytes()


def unpacked(stored: bytes, count: int) -> NDArray[np.bool_]:
    """What was ``packed``."""
    return np.unpackbits(np.frombuffer(stored, np.uint8), count=count).astype(bool)
