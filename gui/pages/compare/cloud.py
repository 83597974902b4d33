"""The points of a chart as columns, so that thousands are styled at once; no widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

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
        shares: (3, n) y, lower and upper end, in [0,1].
        flagged: (n,) those that are hollow.
        colours: (n,) places in ``palette``.
        symbols: (n,) places in ``shapes``.
        palette: the colours.
        shapes: the markers, as ``theme`` names them.
    """

    points: tuple[Point, ...]
    x: Floats
    shares: Floats
    flagged: NDArray[np.bool_]
    colours: Ints
    symbols: Ints
    palette: tuple[str, ...]
    shapes: tuple[str, ...]

    @property
    def y(self) -> Floats:
        """(n,) shares in [0,1]."""
        return cast(Floats, self.shares[0])

    def bars(self, colour: int) -> tuple[Floats, Floats]:
        """The intervals of one colour: (2m,) x and (2m,) lower and upper ends in turn."""
        mine = np.flatnonzero(self.colours == colour)
        return np.repeat(self.x[mine], 2), self.shares[1:, mine].T.ravel()

    def only(self, run_ids: Iterable[int]) -> Cloud:
        """The points of these runs."""
        wanted = frozenset(run_ids)
        told = enumerate(self.points) if wanted else ()
        places = [place for place, point in told if point.run_id in wanted]
        points = tuple(self.points[place] for place in places)
        at = np.array(places, np.int64)
        return replace(
            self,
            points=points,
            x=self.x[at],
            shares=self.shares[:, at],
            flagged=self.flagged[at],
            colours=self.colours[at],
            symbols=self.symbols[at],
        )


def cloud_of(
    points: Sequence[Point], x: Floats, colours: Sequence[str], symbols: Sequence[str]
) -> Cloud:
    """A cloud from what each point is drawn with."""
    shares = np.array([(p.y, p.low, p.high) for p in points], float).reshape(-1, 3).T
    flagged = np.array([p.flagged for p in points], np.bool_)
    palette, shapes = tuple(dict.fromkeys(colours)), tuple(dict.fromkeys(symbols))
    shades, signs = _codes(colours, palette), _codes(symbols, shapes)
    return Cloud(tuple(points), x, shares, flagged, shades, signs, palette, shapes)


def _codes(values: Sequence[str], known: Sequence[str]) -> Ints:
    code = {value: number for number, value in enumerate(known)}
    return np.fromiter((code[value] for value in values), np.int64, len(values))


def cloud_of_series(
    series: Sequence[Series],
    x: Floats,
    colours: Sequence[str],
    symbols: Callable[[Series, str], str],
) -> Cloud:
    """A cloud from what series are drawn with.

    Args:
        series: their points.
        x: (n,) where these stand on the axis.
        colours: of each series.
        symbols: the marker of the points of a series that are of a method.
    """
    palette, shapes = tuple(dict.fromkeys(colours)), dict[str, int]()
    signs = [np.array([], np.int64)]
    for one in series:
        names, places = one.methods
        codes = [shapes.setdefault(symbols(one, name), len(shapes)) for name in names]
        signs.append(np.array(codes, np.int64)[places])
    numbers, counts = numbers_of(series), [len(one.points) for one in series]
    shades = np.repeat(_codes(colours, palette), counts)
    return Cloud(
        tuple(points_of(series)),
        x,
        numbers[1:4],
        numbers[4].astype(bool),
        shades,
        np.concatenate(signs),
        palette,
        tuple(shapes),
    )


def numbers_of(series: Iterable[Series]) -> Floats:
    """(5, n) the numbers of all series, one series after the other."""
    return np.concatenate([np.empty((5, 0)), *(one.numbers for one in series)], axis=1)


def points_of(series: Iterable[Series]) -> list[Point]:
    """The points of all series, one series after the other."""
    return list(chain.from_iterable(one.points for one in series))
