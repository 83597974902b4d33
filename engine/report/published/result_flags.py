"""What to doubt of published figures: by themselves, by their row, and by what others measured.

Where a reason goes beyond the numbers it says so: "we take it".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from engine import catalog
from engine.flags import Flag
from engine.report.published.arithmetic import smallest_sample
from engine.report.published.rows import PublishedRow, interval
from engine.report.published.size_flags import size_flags

ALLOWANCE = 6.0
"""Points that a sound network may lose from one attack in a ball to the next stronger one.

In no row that comes with Crumple, flagged ones aside, is it more.
"""

_CHANCE = 10.0
"""Percent that guessing gets of ten classes."""

_SPREAD = 2.0
"""Points from which on two sources are told to differ."""

_Rule = Callable[[PublishedRow, Sequence[PublishedRow]], Iterator[Flag]]


def flags_of(row: PublishedRow, rows: Sequence[PublishedRow]) -> tuple[Flag, ...]:
    """All there is to know before believing a row, of its size first.

    Args:
        row: one of ``rows``.
        rows: all that it may be compared with.
    """
    found = (flag for rule in _RULES for flag in rule(row, rows))
    return (*size_flags(row.model), *found)


def in_ball(row: PublishedRow) -> bool:
    """Whether the attack is one of the catalogue that searches an Linf ball."""
    entry = catalog.section("attacks").get(row.result.attack)
    return entry is not None and entry.norm == "Linf" and "no limit" not in entry.traits


def _off_grid(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    n = row.source.n
    if n is None or row.n is not None:
        return
    needed = smallest_sample(row.model.figures)
    low, high = interval(row.result.robust, needed)
    shown = " and ".join(f"{figure:g}" for figure in row.model.figures)
    yield Flag(
        "off-grid",
        "warning",
        f"{shown} % are no whole counts of {n} images, as the other rows of the source are: they "
        f"need a multiple of {needed}. Of {needed} images {row.result.robust:g} % would have the "
        f"interval [{low:.1f}, {high:.1f}].",
    )


def _no_bound(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    entry = catalog.section("attacks").get(row.result.attack)
    if entry is not None and "no limit" in entry.traits and row.eps is None:
        yield Flag(
            "no-bound",
            "warning",
            f"{entry.title} takes the closest example, however far, and no bound is stated: what "
            "is left says how often the search failed, not how robust the network is.",
        )


def _undefended(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    figure = row.result.robust
    if row.model.training == "standard" and in_ball(row) and figure > _CHANCE:
        yield Flag(
            "undefended",
            "warning",
            f"{figure:g} % under {row.result.attack} without any training against attacks: we take "
            "it for masked gradients, or for a small eps, until an attack without gradients and "
            "transferred examples say the same.",
        )


def _at_chance(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    figures = [result.robust for result in row.model.results]
    if len(figures) < 2 or max(figures) > _CHANCE or row.model.training == "standard":
        return
    shown = " / ".join(f"{figure:g}" for figure in figures)
    alike = ", and the weakest attack finds as little as the strongest" * (len(set(figures)) == 1)
    yield Flag(
        "at-chance",
        "danger",
        f"{shown} % under {len(figures)} attacks is no more than guessing among ten classes"
        f"{alike}. We take it for a network that was wrong before any attack, for example loaded "
        "without its masks; the source gives no clean accuracy.",
    )


def _contradicts_row(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    """Another attack on the same network is further away than attacks are and sampling can be."""
    mine = row.interval
    if mine is None or not in_ball(row):
        return
    others = [one for one in rows if one.model is row.model and one is not row and in_ball(one)]
    for other in sorted(others, key=lambda one: abs(one.result.robust - row.result.robust)):
        theirs = other.interval
        gap = other.result.robust - row.result.robust
        if theirs is not None and gap > ALLOWANCE and mine[1] < theirs[0]:
            yield Flag(
                "contradicts-row",
                "danger",
                f"{_figure(row)} under {row.result.attack} beside {_figure(other)} under "
                f"{other.result.attack} on the same network: {gap:g} points apart, where attacks "
                f"in a ball differ by up to {ALLOWANCE:g}. We take one of them for a slip of the "
                "pen or another run.",
            )
            return


def _contradicts_others(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    if row.interval is None or not in_ball(row):
        return
    others = [
        one
        for one in rows
        if one.source is not row.source and in_ball(one) and same_network(row, one)
    ]
    if not others:
        return
    figures = [one.result.robust for one in others]
    low, high = min(figures) - ALLOWANCE, max(figures) + ALLOWANCE
    if low <= row.interval[1] and row.interval[0] <= high:
        return
    yield Flag(
        "contradicts-others",
        "danger",
        f"{_figure(row)} under {row.result.attack}, where others have {_listed(others)} for the "
        f"same network{'' if row.dataset else ', if this is CIFAR-10'}.",
    )


def _labs_differ(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    """The same attack on the same network, trained by several: how far they are apart."""
    if row.source.kind == "review" or row.result.attack not in catalog.section("attacks"):
        return
    alike = [
        one
        for one in rows
        if one.source.kind != "review"
        and same_network(row, one)
        and (one.result.attack, one.result.setting) == (row.result.attack, row.result.setting)
    ]
    figures = [one.result.robust for one in alike]
    if len({one.source.id for one in alike}) > 1 and max(figures) - min(figures) >= _SPREAD:
        yield Flag(
            "sources-differ",
            "info",
            f"Under the same attack on the same network: {_listed(alike)}.",
        )


def _second_hand(row: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[Flag]:
    if row.quoted_from:
        yield Flag("second-hand", "info", f"Quoted from {row.quoted_from}.")


_RULES: tuple[_Rule, ...] = (
    _off_grid,
    _no_bound,
    _undefended,
    _at_chance,
    _contradicts_row,
    _contradicts_others,
    _labs_differ,
    _second_hand,
)


def same_network(row: PublishedRow, other: PublishedRow) -> bool:
    """Whether two rows are of the same system, architecture, share pruned and dataset.

    Where a source does not state its dataset it is taken for CIFAR-10, which its systems use.
    """

    def key(one: PublishedRow) -> tuple[object, ...]:
        model = one.model
        stage = model.stage == "before compression"
        size = model.pruned, model.rate, model.structured
        return model.system, model.architecture, *size, stage, one.dataset or "cifar10"

    return bool(row.model.architecture) and key(row) == key(other)


def _figure(row: PublishedRow) -> str:
    ends = row.interval
    shown = "" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]"
    return f"{row.result.robust:g} %{shown}"


def _listed(rows: Iterable[PublishedRow]) -> str:
    """``51.49 % (rslad-2021, autoattack)``, and so on."""
    words = sorted(
        f"{row.result.robust:g} % ({row.source.id}, {row.result.attack})" for row in rows
    )
    return ", ".join(word for word, _ in groupby(words))
