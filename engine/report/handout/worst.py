"""The worst case of each variant as tables: what is left, and who broke what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.report.cells import markdown
from engine.report.handout.contents import WorstCase
from engine.report.naming import variant
from engine.report.tables import perturbation, tabulated
from engine.statistics.words import in_percent
from engine.store import Columns

WORST_COLUMNS = (
    *("variant", "norm", "eps", "n", "clean_mistakes", "worst_case", "ci_low", "ci_high"),
    *("search", "run_id", "broken", "only", "left"),
)
"""A row for each search of each variant in each threat model."""

_HEAD = ("variant", "threat", "worst % [95 %]", "parameters", "perturbation", "broken by")
_NUMBERS = {"worst % [95 %]", "parameters", "perturbation"}


def worst_rows(worst: Sequence[WorstCase]) -> Iterator[Columns]:
    """The rows of ``WORST_COLUMNS``: shares in [0,1], counts of images."""
    for one in worst:
        row = one.strongest
        if one.broke is None:
            continue
        shared = {
            "variant": variant(row),
            "norm": row["norm"],
            "eps": row["eps"],
            "n": one.broke.images,
            "clean_mistakes": one.broke.mistakes,
            "worst_case": one.share,
            "ci_low": one.low,
            "ci_high": one.high,
        }
        for part in one.broke.parts:
            told = {"search": part.title, "run_id": part.run, "broken": part.broken}
            yield {**shared, **told, "only": part.only, "left": part.left}


def worst_markdown(worst: Sequence[WorstCase]) -> str:
    """A table for reading, a row for each variant in each threat model."""
    lines = []
    for one in worst:
        row = one.strongest
        eps = "" if row["eps"] is None else f" {row['eps']:.4g}"
        parameters = "" if row["parameters"] is None else f"{row['parameters']:,}"
        share = f"{in_percent(one.share)} [{in_percent(one.low)}, {in_percent(one.high)}]"
        lines.append(
            [
                variant(row),
                f"{row['norm']}{eps}",
                share,
                parameters,
                perturbation(row),
                broken_by(one),
            ]
        )
    return tabulated(_HEAD, lines, _NUMBERS, "markdown") if lines else markdown("None.\n")


def broken_by(one: WorstCase) -> str:
    """For example ``pgd-40 8/255 (run 3) 61, square 8/255 (run 4) 58, 2 of them alone``."""
    if one.broke is None:
        return ""
    words = [
        f"{part.title} {part.broken}" + (f", {part.only} of them alone" if part.only else "")
        for part in one.broke.parts
    ]
    return "; ".join([f"no attack {one.broke.mistakes}", *words])
