"""Everything that the reading functions of a store give, as text to compare or to hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.store import Store


def tables(path: Path) -> dict[str, str]:
    """By reading function, what it gives of a database that is only read."""
    with Store(path, readonly=True) as store:
        studies = store.studies()
        found: dict[str, Any] = {
            "results": store.results(),
            "results of studies": [store.results(row["name"]) for row in studies],
            "with_specs": store.with_specs(store.results()),
            "queue": store.queue(),
            "studies": studies,
            "study": [store.study(row["id"]) for row in studies],
            "study_runs": [store.study_runs(row["id"]) for row in studies],
            "transfers": store.transfers(),
            "paces": store.paces(),
            "step_paces": store.step_paces(),
            "model_usage": sorted(store.model_usage().items()),
            "count": [store.count(status) for status in ("waiting", "finished", "failed")],
        }
        ids = [row["run_id"] for row in found["results"]]
        for name in ("result", "run", "run_spec", "studies_of", "samples", "curve", "checks"):
            found[name] = [getattr(store, name)(run_id) for run_id in ids]
        for name in ("variant", "step_records"):
            found[name] = [getattr(store, name)(run_id) for run_id in ids]
        found["images"] = [_pixels(store, run_id) for run_id in ids]
    return {name: json.dumps(_plain(value)) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((str(key), _plain(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.model_dump_json() if isinstance(value, BaseModel) else repr(value)


def _pixels(store: Store, run_id: int) -> dict[str, Any]:
    return {
        name: (array.shape, array.dtype, array.tobytes())
        for name, array in store.images(run_id).items()
    }


def hashed(path: Path, without: Collection[str] = ()) -> str:
    """A hash of ``tables``."""
    told = sorted((name, text) for name, text in tables(path).items() if name not in without)
    return hashlib.sha256(repr(told).encode()).hexdigest()
