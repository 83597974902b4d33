"""What was computed took how long: what the time of a new study is told from."""

from __future__ import annotations

import json
from typing import Any, TypedDict, cast

from engine.store.database import ResultsDatabase
from engine.store.run_environments import machines

MOST_ALIKE = 20


class PaceRow(TypedDict):
    """What a finished run took, in seconds for ``n`` images, and where."""

    dataset: str
    model: str
    attack: str
    n: int
    seconds: float
    platform: str | None
    device: str | None


class StepPaceRow(TypedDict):
    """What a step that trained took, in seconds for all its ``epochs``, and where."""

    dataset: str
    model: str
    name: str
    params: dict[str, Any]
    epochs: int
    seconds: float
    platform: str | None
    device: str | None


def run_paces(db: ResultsDatabase) -> list[PaceRow]:
    """What finished runs took: dataset, model, attack, n, seconds, platform, device.

    The time is that of the whole run without the training of its variant (``step_paces``),
    or of its attack where that is more because the run was interrupted. Of runs that are alike
    in all this the newest ones, ``MOST_ALIKE`` at most: more tell nothing new.
    """
    table, join = machines(db)
    rows = list(
        db.query(
            f"""
        WITH {table}
        SELECT dataset, model, attack, n,
            max(seconds, (julianday(finished) - julianday(started)) * 86400 - coalesce((
                SELECT sum(json_extract(epoch.value, '$.seconds'))
                FROM stages, json_each(payload, '$.steps') AS step,
                    json_each(step.value, '$.epochs') AS epoch
                WHERE spec LIKE '%epochs"%' AND stages.key = variant_key AND json_valid(payload)
                    AND stages.created BETWEEN started AND finished
            ), 0)) AS seconds, platform, device
        FROM runs {join} WHERE runs.id IN (
            SELECT id FROM (
                SELECT runs.id AS id, row_number() OVER (
                    PARTITION BY dataset, model, attack, platform, device ORDER BY runs.id DESC
                ) AS nth
                FROM runs {join} WHERE status = 'finished' AND n > 0 AND seconds IS NOT NULL
            ) WHERE nth <= {MOST_ALIKE}
        )
        """
        )
    )
    return cast(list[PaceRow], rows)


def step_paces(db: ResultsDatabase) -> list[StepPaceRow]:
    """What steps that train took: dataset, model, name, params, epochs, seconds, platform,
    device.

    One row a step of every stored variant of a finished run; ``seconds`` is that of all its
    ``epochs`` together.
    """
    table, join = machines(db)
    rows = db.query(
        f"""
        WITH {table}
        SELECT dataset, model, json_extract(spec, '$.recipe') AS recipe,
            json_extract(payload, '$.steps') AS steps, platform, device
        FROM runs JOIN stages ON stages.key = variant_key {join}
        WHERE runs.id IN (
            SELECT min(id) FROM runs WHERE status = 'finished' AND spec LIKE '%epochs"%'
            GROUP BY variant_key
        ) AND json_valid(payload) AND json_array_length(payload, '$.steps') > 0
        """
    )
    found: list[StepPaceRow] = []
    for row in rows:
        recipe, steps = json.loads(row.pop("recipe")), json.loads(row.pop("steps"))
        for asked, record in zip(recipe, steps, strict=False):
            if epochs := record.get("epochs"):
                seconds = sum(epoch["seconds"] for epoch in epochs)
                took = {**row, **asked, "epochs": len(epochs), "seconds": seconds}
                found.append(cast(StepPaceRow, took))
    return found
