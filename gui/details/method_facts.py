"""What the catalogue knows of a method, as facts for the details panel; no widgets of its own."""

from __future__ import annotations

from engine.catalog import Entry
from gui.forms.param_form import describe
from gui.widgets.facts import Fact


def method_facts(entry: Entry) -> list[tuple[str, list[Fact]]]:
    """Headed lists: what it does and where it comes from, then each parameter."""
    norms = "Linf or L2" if "norm" in entry.params.model_fields else entry.norm
    about = (
        ("summary", entry.summary, ""),
        ("family", entry.family, ""),
        ("norm", norms, ""),
        ("limits", entry.limits, ""),
        ("source", entry.paper, ""),
        ("id", entry.id, "its name in study files"),
    )
    params = [
        (info.title or name, *describe(info).split("\n", 1))
        for name, info in entry.params.model_fields.items()
    ]
    return [
        ("Method", [fact for fact in about if fact[1]]),
        ("Parameters", [(fact[0], fact[1], fact[2] if len(fact) > 2 else "") for fact in params]),
    ]
