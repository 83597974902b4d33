"""The points of a chart as columns, so that thousands are styled at once; no widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from engine.report.series import Point, Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cloud:
    """Points with what decides how each is drawn.

    Attributes:
        points: as they lie above each other, the uppermost last.
        x: where each stands on the axis.
        colours: (n,) places in ``palette``.
        symbols: (n,) places in ``shapes``.
        palette: the colours.
        shapes: the markers, as ``theme`` names them.
    """

    points: tuple[Point, ...]
    x: Floats
    colours: Ints
    symbols: Ints
    palette: tuple[str, ...]
    shapes: tuple[str, ...]

    def column(self, read: Callable[[Point], float]) -> Floats:
        """(n,) a number of each point."""
        return np.fromiter(map(read, self.points), float, len(self.points))

    @property
    def y(self) -> Floats:
        """(n,) shares in [0,1]."""
        return self.column(lambda point: point.y)

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(n,) those that are hollow."""
        return self.column(lambda point: point.flagged).astype(bool)

    def bars(self, colour: int) -> tuple[Floats, Floats]:
        """The intervals of one colour: (2m,) x and (2m,) lower and upper ends in turn."""
        mine = np.flatnonzero(self.colours == colour)
        ends = [(self.points[i].low, self.points[i].high) for i in mine.tolist()]
        return np.repeat(self.x[mine], 2), np.array(ends, float).ravel()

    def only(self, run_ids: Iterable[int]) -> Cloud:
        """The points of these runs."""
        wanted = frozenset(run_ids)
        places = [place for place, point in enumerate(self.points) if point.run_id in wanted]
        points = tuple(self.points[place] for place in places)
        at = np.array(places, np.int64)
        columns = (self.x[at], self.colours[at], self.symbols[at])
        return Cloud(points, *columns, self.palette, self.shapes)


def cloud_of(
    points: Sequence[Point], x: Floats, colours: Sequence[str], symbols: Sequence[str]
) -> Cloud:
    """A cloud from what each point is drawn with."""
    palette, shapes = tuple(dict.fromkeys(colours)), tuple(dict.fromkeys(symbols))
    return Cloud(
        tuple(points), x, _codes(colours, palette), _codes(symbols, shapes), palette, shapes
    )


def _codes(values: Sequence[str], known: Sequence[str]) -> Ints:
    code = {value: number for number, value in enumerate(known)}
    return np.fromiter((code[value] for value in values), np.int64, len(values))


def points_of(series: Iterable[Series]) -> list[Point]:
    """The points of all series, one series after the other."""
    return list(chain.from_iterable(one.points for one in series))
