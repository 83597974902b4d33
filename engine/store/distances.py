"""How far the examples of a run lie, for attacks whose result that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlite_utils import Database

from engine.catalog import attacks
from engine.statistics.security_curves import distances


def without_limit(row: Mapping[str, Any]) -> bool:
    """Whether a run's attack takes the closest example however far it is.

    Then nothing holds for ever, and the share that held is no robust accuracy.
    """
    if row["eps"] is not None:
        return False
    entry = attacks.entries().get(row.get("attack_id") or json.loads(row["spec"])["attack"]["name"])
    return "no limit" in entry.traits if entry else bool(row["norm"])


def measure_distance(db: Database, run_id: int) -> None:
    """Keep the median distance of a finished run, in its norm, if it has no eps.

    Over all images: 0 where misclassified clean; none if half of them were never broken.
    """
    (run,) = db.query("SELECT eps, norm FROM runs WHERE id = ?", (run_id,))
    samples = list(db.query("SELECT broken, l2, linf FROM samples WHERE run_id = ?", (run_id,)))
    if run["eps"] is not None or run["norm"] not in ("L2", "Linf") or not samples:
        return
    median = float(np.median(distances(samples, run["norm"])))
    if math.isfinite(median):
        db.execute("UPDATE runs SET median_distance = ? WHERE id = ?", (median, run_id))
