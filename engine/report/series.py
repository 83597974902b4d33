"""Runs as points in series, for the window and for print alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.report.identity import (
    EPS,
    Key,
    attack_key,
    attack_name,
    family,
    first_attacks,
    grouped,
    images_key,
    method,
    names_of,
    variant_key,
)
from engine.report.naming import BASE, called, in_order, is_flagged, known, namer
from engine.report.tables import result_words
from engine.statistics.intervals import wilson
from engine.statistics.repeats import spread
from engine.statistics.words import in_percent
from engine.store import Columns, ResultRow

_LOG_FROM = 8.0


@dataclass(frozen=True)
class Axis:
    """What can be drawn along an axis.

    Attributes:
        id: column of the results.
        name: what is drawn.
        unit: empty if it has none.
        over: what tells series apart beside the model when runs move along this axis.
    """

    id: str
    name: str
    unit: str = ""
    over: str = "attack"

    @property
    def title(self) -> str:
        """The name with the unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


X_AXES: tuple[Axis, ...] = (
    Axis("compression_rate", "compression rate"),
    Axis("size_bytes", "size", "bytes"),
    Axis("nonzero_parameters", "nonzero parameters"),
    Axis("achieved_sparsity", "sparsity"),
    Axis("eps", "eps", over="compression"),
)
Y_AXES: tuple[Axis, ...] = (
    Axis("robust_accuracy", "robust accuracy", "%"),
    Axis("clean_accuracy", "clean accuracy", "%"),
    Axis("worst_case", "worst case", "%"),
)


@dataclass(frozen=True)
class Point:
    """One run in the chart; shares in [0,1].

    ``method`` names the steps of its compression; ``family`` is the same for those that differ
    only in degree, ``repeat`` for those that differ only in the seed, empty where nothing repeats.
    """

    run_id: int
    x: float
    y: float
    low: float
    high: float
    flagged: bool
    row: ResultRow = field(repr=False)
    family: str
    method: str = ""
    compression: str = ""
    repeat: Key = ""
    remark: str = ""

    @property
    def words(self) -> str:
        """The run in words, for a tip beside the pointer; made for those that are asked for."""
        return describe(self.row) + self.remark


@dataclass(frozen=True)
class Series:
    """Points of one colour, marker and dash (``number``), in order of x."""

    number: int
    name: str
    points: tuple[Point, ...]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """(5, n) x, share, lower and upper end, and whether it is flagged, of each point.

        Repeats have no interval each: together they have a spread.
        """
        rows = [(p.x, p.y, p.low, p.high, p.flagged) for p in self.points]
        numbers = np.array(rows, np.float64).reshape(-1, 5).T
        for places in self.repeat_places:
            numbers[2:4, places] = numbers[1, places]
        return numbers

    @cached_property
    def repeat_places(self) -> list[list[int]]:
        """Which points are of one variant and attack with several seeds."""
        places: dict[Key, list[int]] = defaultdict(list)
        for place, point in enumerate(self.points):
            if point.repeat:
                places[point.repeat].append(place)
        return [own for own in places.values() if len(own) > 1]

    @cached_property
    def spreads(self) -> NDArray[np.float64]:
        """(4, k) of what was repeated: mean x, mean share, and one deviation below and above."""
        found = []
        for places in self.repeat_places:
            x, y = self.numbers[:2, places]
            told = spread(y.tolist())
            off = told.deviation or 0.0
            found.append((x.mean(), told.mean, told.mean - off, told.mean + off))
        return np.array(found, np.float64).reshape(-1, 4).T

    @cached_property
    def methods(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The methods of the points, and (n,) the place of that of each point."""
        found: dict[str, int] = {}
        places = [found.setdefault(point.method, len(found)) for point in self.points]
        return tuple(found), np.array(places, np.int64)

    @cached_property
    def run_ids(self) -> tuple[int, ...]:
        """Of the points, in their order."""
        return tuple(point.run_id for point in self.points)

    @cached_property
    def line_numbers(self) -> list[NDArray[np.float64]]:
        """(2, k) x and share of the points of each line; repeats count once, at their mean."""
        if not self.repeat_places:
            return [self.numbers[:2, line] for line in self.line_places]
        return [means for line in self.line_places if len(set((means := self._means(line))[0])) > 1]

    def _means(self, line: Sequence[int]) -> NDArray[np.float64]:
        groups: dict[Key, list[int]] = defaultdict(list)
        for place in line:
            groups[self.points[place].repeat or f"{place}"].append(place)
        means = np.array([self.numbers[:2, places].mean(axis=1) for places in groups.values()])
        return means[np.argsort(means[:, 0], kind="stable")].T

    @cached_property
    def line_places(self) -> list[list[int]]:
        """What lines may join: variants that differ only in degree, from the base model on.

        A line from a pruned variant to a quantised one would suggest a way between them; so
        would one to a variant that stands alone.
        """
        places: dict[str, list[int]] = defaultdict(list)
        for place, point in enumerate(self.points):
            places[point.family].append(place)
        base = places.pop(BASE, []) if len(places) > 1 else []
        several = [own for own in places.values() if len({self.points[i].x for i in own}) > 1]
        return [sorted((*own, *base)) for own in several]


def series_key(row: ResultRow, x: Axis) -> Key:
    """The same for runs of one series: everything but the seed and what moves along the axis."""
    if x.over == "compression":
        return f"{images_key(row)} {variant_key(row)} {attack_key(row, EPS)}"
    return f"{images_key(row)} {row['model']} {attack_key(row)}"


def series_of(rows: Sequence[ResultRow], x: Axis, y: Axis) -> list[Series]:
    """The finished runs as series; runs without a value on either axis are left out.

    So are second attacks, which are no repeats and only tell how much an attack varies.
    """
    fit = [row for row in first_attacks(rows) if None not in (_value(row, x), _value(row, y))]
    groups = grouped(fit, lambda row: series_key(row, x))
    # What the words of a name come from is in the key, so that one run of a series names it.
    first = {key: group[0] for key, group in groups.items()}
    if x.id == "eps":  # belongs to the name of an attack, but not where runs move along it
        first = {key: _without_eps(row) for key, row in first.items()}
    fields = ("model", "compression", "attack") if x.over == "compression" else ("model", "attack")
    titles = names_of(first, namer(list(first.values()), fields))
    return [
        Series(number, titles[key], _points(group, x, y))
        for number, (key, group) in enumerate(groups.items())
    ]


def _without_eps(row: ResultRow) -> ResultRow:
    return cast(ResultRow, {**row, "attack": attack_name(row)})


def _points(rows: Sequence[ResultRow], x: Axis, y: Axis) -> tuple[Point, ...]:
    shares = [float(_value(row, y)) for row in rows]
    counts = [known(row["n"]) for row in rows]
    low, high = wilson(np.minimum(np.rint(np.multiply(shares, counts)), counts), counts)
    repeated = any((row.get("spec") or {}).get("shared_seed") is not None for row in rows)
    points = [
        Point(
            run_id=row["run_id"],
            x=float(_value(row, x)),
            y=share,
            low=below,
            high=above,
            flagged=is_flagged(row),
            row=row,
            family=family(row),
            method=method(row),
            compression=row["compression"],
            repeat=f"{variant_key(row)} {attack_key(row)}" if repeated else "",
        )
        for row, share, below, above in zip(rows, shares, low.tolist(), high.tolist(), strict=True)
    ]
    told = _with_spread(points) if repeated else points
    return tuple(sorted(told, key=lambda point: (point.x, point.run_id)))


def _with_spread(points: Sequence[Point]) -> list[Point]:
    """Points that say what they are together with those of other seeds."""
    values: dict[Key, list[float]] = defaultdict(list)
    for point in points:
        values[point.repeat].append(point.y)
    told = []
    for point in points:
        found = spread(values[point.repeat])
        words = f"\nSeed {point.row['seed']}"
        if found.deviation is not None:
            mean, off = in_percent(found.mean), in_percent(found.deviation)
            words += f"; over {found.count} seeds {mean} ± {off} %"
        told.append(replace(point, remark=words))
    return told


def _value(row: Columns, axis: Axis) -> Any:
    return row[axis.id]


def methods_of(series: Sequence[Series], x: Axis) -> tuple[str, ...]:
    """The methods that markers tell apart, the base model last; empty if there is only one.

    Along an axis where every variant is a series of its own, they need no markers.
    """
    points = sorted((point for one in series for point in one.points), key=lambda p: p.run_id)
    found = in_order([point.method for point in points])
    methods = [one for one in found if one != BASE]
    if x.over == "compression" or len(methods) < 2:
        return ()
    return (*methods, *([BASE] if BASE in found else []))


def describe(row: ResultRow) -> str:
    """A run in words, for a tip beside the pointer."""
    lines = [
        f"Run {row['run_id']}: {called(row)}, {row['compression']}, {row['attack']}",
        f"{result_words(row)}, clean {in_percent(row['clean_accuracy'])} %",
    ]
    lines += [f"Flag: {flag['text']}" for flag in row["flags"]]
    return "\n".join(lines)


def wants_log(series: Sequence[Series]) -> bool:
    """Whether x spans so much that a logarithmic axis shows it better."""
    x = [one.numbers[0] for one in series if one.points]
    low, high = (min(map(np.min, x)), max(map(np.max, x))) if x else (0, 0)
    return bool(low > 0 and high > _LOG_FROM * low)
