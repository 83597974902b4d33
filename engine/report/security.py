"""Security curves: robust accuracy against eps from the distances of minimum-norm runs.

An attack without eps finds how far the closest example of each image is, so one run tells the
robust accuracy at every eps. The distances are upper bounds; runs of attacks with an eps, on
the same variant in the same norm, check the curve at their eps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.report.identity import (
    Key,
    attack_key,
    attack_name,
    context_key,
    first_attacks,
    grouped,
    names,
    variant_key,
)
from engine.report.naming import in_order, is_flagged, known, namer
from engine.statistics.intervals import FloatArray
from engine.statistics.security_curves import (
    CurveCheck,
    SecurityCurve,
    check_curve,
    distances,
    security_curve,
)
from engine.store import DistanceRow, ResultRow

Samples = Mapping[int, Sequence[DistanceRow]]

POINTS = 401


@dataclass(frozen=True)
class CheckedRun:
    """A run with an eps beside a curve.

    Attributes:
        row: of the run, from the results.
        verdict: the paired comparison; None if the two runs saw other images.
    """

    row: ResultRow
    verdict: CurveCheck | None

    @property
    def too_optimistic(self) -> bool:
        """Whether this run shows that the curve promises too much at its eps."""
        return self.verdict is not None and self.verdict.too_optimistic


@dataclass(frozen=True)
class SecurityLine:
    """One curve with the runs that check it.

    Attributes:
        row: of the minimum-norm run.
        name: what tells it from the other curves.
        curve: on ``POINTS`` radii from 0 to the reach of its panel.
        found: (N) distances.
        checks: by eps.
    """

    row: ResultRow
    name: str
    curve: SecurityCurve
    found: FloatArray
    checks: tuple[CheckedRun, ...]

    @property
    def flagged(self) -> bool:
        """Whether the run carries a flag of level danger."""
        return is_flagged(self.row)

    @cached_property
    def outline(self) -> FloatArray:
        """(2, k) radii and shares of the curve without the middle of its level pieces."""
        bends = np.ones(len(self.curve.eps), bool)
        steps = np.diff(self.curve.robust_accuracy) != 0
        bends[1:-1] = steps[:-1] | steps[1:]
        return np.array([self.curve.eps[bends], self.curve.robust_accuracy[bends]])

    def at(self, eps: float) -> SecurityCurve:
        """The curve at one radius."""
        return security_curve(self.found, [eps])

    def doubts(self) -> list[str]:
        """One sentence for each check that the curve fails."""
        return [
            f"Too optimistic at eps {check.row['eps']:g}: {self.name} says "
            f"{100 * check.verdict.curve:.1f} %, {check.row['attack']} finds "
            f"{100 * check.verdict.robust_accuracy:.1f} % "
            f"(McNemar exact, p = {check.verdict.p_value:.2g})."
            for check in self.checks
            if check.verdict is not None and check.too_optimistic
        ]


@dataclass(frozen=True)
class Panel:
    """The curves in one norm; radii in different norms cannot share an axis."""

    norm: str
    lines: tuple[SecurityLine, ...]

    @cached_property
    def checks(self) -> list[tuple[int, CheckedRun]]:
        """Every checking run once, with the number of the first curve that it checks."""
        found: dict[int, tuple[int, CheckedRun]] = {}
        for number, line in enumerate(self.lines):
            for check in line.checks:
                known = found.get(check.row["run_id"])
                if known is None or (check.too_optimistic and not known[1].too_optimistic):
                    found[check.row["run_id"]] = (known[0] if known else number, check)
        return list(found.values())

    @cached_property
    def attacks(self) -> list[str]:
        """The names, without eps, of the attacks that check; each has its marker."""
        return in_order([attack_name(check.row) for _, check in self.checks])

    def rows(self) -> list[ResultRow]:
        """Every run that is drawn, each once."""
        return [line.row for line in self.lines] + [check.row for _, check in self.checks]


def is_curve(row: ResultRow) -> bool:
    """Whether the distances of a run make a curve."""
    return row["eps"] is None and row["norm"] in ("L2", "Linf")


def needed(rows: Sequence[ResultRow]) -> list[int]:
    """The run ids whose samples ``panels`` wants."""
    rows = first_attacks(rows)
    variants = {_variant(row) for row in rows if is_curve(row)}
    return [row["run_id"] for row in rows if variants and _variant(row) in variants]


def panels(rows: Sequence[ResultRow], samples: Samples) -> list[Panel]:
    """One panel per norm that has a curve.

    Args:
        rows: finished runs; second attacks are left out.
        samples: of the runs ``needed``: rows with ``index``, ``broken``, ``l2``, ``linf``.
    """
    rows = first_attacks(rows)
    curves = [row for row in rows if is_curve(row) and len(samples.get(row["run_id"], ()))]
    if not curves:
        return []
    rivals = grouped((row for row in rows if row["eps"] is not None), _variant)
    return [
        _panel(norm, [row for row in curves if row["norm"] == norm], rivals, samples)
        for norm in in_order([row["norm"] for row in curves])
    ]


def _panel(
    norm: str,
    curves: Sequence[ResultRow],
    rivals_of: Mapping[Key, Sequence[ResultRow]],
    samples: Samples,
) -> Panel:
    found = [distances(samples[row["run_id"]], norm) for row in curves]
    rivals = [
        sorted(rivals_of.get(_variant(row), ()), key=lambda one: known(one["eps"]))
        for row in curves
    ]
    grid = np.linspace(
        0, _reach(found, [known(one["eps"]) for each in rivals for one in each]), POINTS
    )
    title = names(curves, _line_key, namer(curves, ("model", "compression", "attack")))
    lines = [
        SecurityLine(
            row=row,
            name=title[_line_key(row)],
            curve=security_curve(own, grid),
            found=own,
            checks=tuple(_check(row, own, rival, samples) for rival in each),
        )
        for row, own, each in zip(curves, found, rivals, strict=True)
    ]
    return Panel(norm, tuple(lines))


def _reach(found: Sequence[FloatArray], checked: Sequence[float]) -> float:
    """Where the axis ends: beyond every check and all but the furthest distances."""
    ends = [1.1 * eps for eps in checked]
    ends += [
        float(np.quantile(own[np.isfinite(own)], 0.98)) for own in found if np.isfinite(own).any()
    ]
    return max(ends, default=0.0) or 1.0


def _check(row: ResultRow, found: FloatArray, rival: ResultRow, samples: Samples) -> CheckedRun:
    mine, theirs = samples[row["run_id"]], samples.get(rival["run_id"], ())
    if [one["index"] for one in mine] != [one["index"] for one in theirs]:
        return CheckedRun(rival, None)
    return CheckedRun(
        rival, check_curve(found, [one["broken"] for one in theirs], known(rival["eps"]))
    )


def _variant(row: ResultRow) -> Key:
    """What a curve and its checks share: the variant, the images and the norm."""
    return f"{context_key({**row, 'study': None})} {variant_key(row)} {row['norm']}"


def _line_key(row: ResultRow) -> Key:
    return f"{context_key(row)} {variant_key(row)} {attack_key(row)}"
