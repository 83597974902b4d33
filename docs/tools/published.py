"""Published figures: where they are from, and the tables of reviews with their intervals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from docs.tools.tables import table
from engine.report.published.result_flags import flags_of
from engine.report.published.rows import PublishedRow, published


def sources() -> Iterator[str]:
    """The files, with what kind of source each is and how many figures it holds."""
    rows = [
        (
            f"`{source.id}`",
            source.kind,
            f"[{source.title}]({source.address})",
            str(len(list(group))),
        )
        for source, group in groupby(published(), lambda row: row.source)
    ]
    yield from table(("source", "kind", "title", "figures"), rows)


def reviewed() -> Iterator[str]:
    """The rows of reviews, all attacks of a network in one."""
    rows = published()
    reviews = [row for row in rows if row.source.kind == "review"]
    lines = []
    for model, group in groupby(reviews, lambda row: row.model):
        found = list(group)
        flags = dict.fromkeys(flag.id for row in found for flag in flags_of(row, rows))
        figures = ", ".join(f"`{row.result.attack}` {_figure(row)}" for row in found)
        lines.append((model.label, figures, ", ".join(f"`{flag}`" for flag in flags)))
    yield from table(("row", "robust % [95 %]", "flags"), lines)


def _figure(row: PublishedRow) -> str:
    ends = row.interval
    return f"{row.result.robust:g}" + ("" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]")
