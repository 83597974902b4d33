"""Small studies for tests."""

from __future__ import annotations

from typing import Any

from engine.specs.study import Study


def small_study(**changes: Any) -> Study:
    """One model, two variants, one attack, 30 images; seconds on any machine."""
    tables: dict[str, Any] = {
        "name": "small",
        "dataset": {"name": "digits", "limit": 30},
        "model": [{"name": "digits-resnet-at"}],
        "compression": [{"name": "magnitude", "sparsity": 0.5}],
        "attack": [{"name": "pgd", "eps": 0.15, "steps": 5}],
    }
    return Study.from_dict({**tables, **changes})


def endless_study(**changes: Any) -> Study:
    """One run that nobody waits for to end."""
    return small_study(
        name="endless",
        compression=[],
        attack=[{"name": "pgd", "eps": 0.01, "steps": 10_000, "restarts": 100}],
        **changes,
    )
