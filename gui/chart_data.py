"""What the Compare page draws: runs as points, in series; no widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.report.cells import csv_text
from engine.report.naming import BASE, in_order, is_flagged, method, namer, sweep
from engine.report.tables import percent, with_interval
from engine.statistics import wilson
from engine.store import Row

_LOG_FROM = 8.0


@dataclass(frozen=True)
class Axis:
    """What can be drawn along an axis.

    Attributes:
        id: column of the results.
        title: with its unit.
        over: what tells series apart beside the model when runs move along this axis.
    """

    id: str
    title: str
    over: str = "attack"


X_AXES: tuple[Axis, ...] = (
    Axis("compression_rate", "compression rate"),
    Axis("size_bytes", "size (bytes)"),
    Axis("nonzero_parameters", "nonzero parameters"),
    Axis("achieved_sparsity", "sparsity"),
    Axis("eps", "eps", over="compression"),
)
Y_AXES: tuple[Axis, ...] = (
    Axis("robust_accuracy", "robust accuracy (%)"),
    Axis("clean_accuracy", "clean accuracy (%)"),
)


@dataclass(frozen=True)
class Point:
    """One run in the chart; shares in [0,1].

    ``method`` names the steps of its compression; ``family`` what it differs from only in degree.
    """

    run_id: int
    x: float
    y: float
    low: float
    high: float
    flagged: bool
    words: str
    family: str
    method: str = ""
    compression: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one colour, marker and dash (``number``), in order of x."""

    number: int
    name: str
    points: tuple[Point, ...]

    def lines(self) -> list[tuple[Point, ...]]:
        """What lines may join: variants that differ only in degree, from the base model on.

        A line from a pruned variant to a quantised one would suggest a way between them; so
        would one to a variant that stands alone.
        """
        families = dict.fromkeys(point.family for point in self.points)
        kinds = [family for family in families if family != "none"] or list(families)
        found = []
        for kind in kinds:
            own = {point.x for point in self.points if point.family == kind}
            if len(own) > 1:
                found.append(
                    tuple(point for point in self.points if point.family in (kind, "none"))
                )
        return found


def series_of(rows: Sequence[Row], x: Axis, y: Axis) -> list[Series]:
    """The finished runs as series; runs without a value on either axis are left out."""
    fit = [row for row in rows if row[x.id] is not None and row[y.id] is not None]
    if not fit:
        return []
    # eps belongs to the name of an attack, so along eps the name must not hold it.
    fit = [{**row, "attack": _attack_name(row)} for row in fit] if x.id == "eps" else fit
    fields = ("model", "compression", "attack") if x.over == "compression" else ("model", "attack")
    name = namer(fit, fields)
    return [
        Series(number, text, _points([row for row in fit if name(row) == text], x, y))
        for number, text in enumerate(in_order([name(row) for row in fit]))
    ]


def _attack_name(row: Row) -> str:
    return str(row["attack"]).split(" ")[0]


def _points(rows: Sequence[Row], x: Axis, y: Axis) -> tuple[Point, ...]:
    points = [_point(row, x, y) for row in rows]
    return tuple(sorted(points, key=lambda point: (point.x, point.run_id)))


def _point(row: Row, x: Axis, y: Axis) -> Point:
    share = float(row[y.id])
    low, high = wilson(min(round(share * row["n"]), row["n"]), row["n"])
    return Point(
        run_id=row["run_id"],
        x=float(row[x.id]),
        y=share,
        low=float(low),
        high=float(high),
        flagged=is_flagged(row),
        words=describe(row),
        family=sweep(row),
        method=method(row),
        compression=row["compression"],
    )


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


def describe(row: Row) -> str:
    """A run in words, for a tip beside the pointer."""
    lines = [
        f"Run {row['run_id']}: {row['model']}, {row['compression']}, {row['attack']}",
        f"robust {with_interval(row)} %, clean {percent(row['clean_accuracy'])} %",
    ]
    lines += [f"Flag: {flag['text']}" for flag in row["flags"]]
    return "\n".join(lines)


def wants_log(series: Sequence[Series]) -> bool:
    """Whether x spans so much that a logarithmic axis shows it better."""
    values = [point.x for one in series for point in one.points]
    return bool(values) and min(values) > 0 and max(values) > _LOG_FROM * min(values)


def write_csv(path: Path, series: Sequence[Series], x: Axis, y: Axis) -> None:
    """Write the points that are drawn, one per row."""
    columns = ("series", "run_id", "compression", x.id, y.id, "ci_low", "ci_high", "flagged")
    path.write_text(
        csv_text(
            columns,
            (
                (one.name, p.run_id, p.compression, p.x, p.y, p.low, p.high, int(p.flagged))
                for one in series
                for p in one.points
            ),
        ),
        "utf-8",
    )


Baseline = Callable[[Row], Row | None]


def baselines(rows: Sequence[Row]) -> Baseline:
    """A function that gives the uncompressed run to compare a run with, None if there is none."""
    found: Mapping[tuple[object, ...], Row] = {
        _pairing(row): row
        for row in rows
        if row["compression"] == "none" and row["status"] == "finished"
    }
    return lambda row: None if row["compression"] == "none" else found.get(_pairing(row))


def _pairing(row: Row) -> tuple[object, ...]:
    return tuple(row[key] for key in ("dataset", "n", "seed", "model", "attack"))
