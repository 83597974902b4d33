"""What can and what cannot be concluded, in sentences that name the runs they are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.report.differences import Difference
from engine.report.handout.contents import Contents, WorstCase
from engine.report.naming import is_flagged, made, variant
from engine.report.repeats import Repeats, words
from engine.statistics.sample_size import Disagreement, smallest_difference
from engine.statistics.words import counted, in_percent
from engine.store import ResultRow


@dataclass(frozen=True)
class Sentence:
    """One conclusion.

    Attributes:
        text: as it is printed.
        runs: the ids of the runs that it rests on.
        certain: whether it says what can be concluded; else what cannot.
    """

    text: str
    runs: tuple[int, ...]
    certain: bool


_TOO_GOOD = frozenset({"chosen-on-test"})
"""Flags of level warning of runs whose accuracy is higher than on other images."""


def _is_doubted(row: ResultRow) -> bool:
    """Whether nothing may be concluded from how robust a run seems."""
    return is_flagged(row) or any(flag["id"] in _TOO_GOOD for flag in row["flags"])


def conclusions(found: Contents) -> list[Sentence]:
    """From the statistics alone; in the order of a reader's questions."""
    return [
        *_bounds(found.worst),
        *_repeated(found.repeats),
        *_repeated_changes(found.repeats, found.differences),
        *_changes(found.differences),
        *_methods(found.methods),
        *_hidden(found),
        *_resolution(found),
        *_doubts(found),
        *_unfinished(found),
    ]


def _ids(rows: Sequence[ResultRow]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(row["run_id"] for row in rows))


def _bounds(worst: Sequence[WorstCase]) -> Iterator[Sentence]:
    for one in worst:
        row = one.strongest
        eps = "" if row["eps"] is None else f" at eps {row['eps']:.4g} ({row['norm']})"
        share = f"{in_percent(one.share)} % [{in_percent(one.low)}, {in_percent(one.high)}]"
        yield Sentence(
            f"{variant(row)}: at most {share} of {row['n']} images survive everything that is "
            f"stored{eps}; the strongest run is {row['attack']}. {one.verdict.text}",
            _ids(one.rows),
            certain=one.verdict.level == "ok",
        )


def _repeated(found: Sequence[Repeats]) -> Iterator[Sentence]:
    """What of a result is the seed; of variants that every seed shares only the largest spread."""
    shared = [one for one in found if one.source in ("attack", "nothing")]
    for one in found:
        if one not in shared:
            text = f"{made(one.rows[0])}, under {one.rows[0]['attack']}: {words(one)}."
            certain = one.source != "together" and not any(map(_is_doubted, one.rows))
            yield Sentence(text, one.run_ids, certain=certain)
    if shared:
        most = max(shared, key=lambda one: one.found.deviation or 0.0)
        many = counted(len(shared), "result")
        yield Sentence(
            f"{many} on variants that every seed shares: the largest spread is that of "
            f"{made(most.rows[0])}, under {most.rows[0]['attack']}: {words(most)}.",
            tuple(run for one in shared for run in one.run_ids),
            certain=not any(_is_doubted(row) for one in shared for row in one.rows),
        )


def _repeated_changes(
    repeats: Sequence[Repeats], found: Sequence[Difference]
) -> Iterator[Sentence]:
    """Whether a difference to the uncompressed model outlives another seed."""
    of_run = {one.row["run_id"]: one for one in found}
    for one in repeats:
        mine = [of_run[row["run_id"]] for row in one.rows if row["run_id"] in of_run]
        if len(mine) < 2:
            continue
        points = [100 * each.found.difference for each in mine]
        apart = [each for each in mine if each.told_apart]
        doubted = any(_is_doubted(_seems_more_robust(each)) for each in mine)
        sides = {each.found.difference > 0 for each in apart}
        yield Sentence(
            f"{made(one.rows[0])}, under {one.rows[0]['attack']}, against its uncompressed model: "
            f"{np.mean(points):+.1f} ± {np.std(points, ddof=1):.1f} points over {len(mine)} seeds "
            f"({min(points):+.1f} to {max(points):+.1f}); told from chance with {len(apart)} of "
            f"them.{' But what seems more robust is flagged.' if doubted else ''}",
            _ids([run for each in mine for run in (each.row, each.base)]),
            certain=len(apart) == len(mine) and len(sides) == 1 and not doubted,
        )


def _seems_more_robust(one: Difference) -> ResultRow:
    return one.row if one.found.difference > 0 else one.base


def _changes(found: Sequence[Difference]) -> Iterator[Sentence]:
    for one in found:
        if one.told_apart:
            text, doubted = _change(one), _is_doubted(_seems_more_robust(one))
            if doubted:
                run = _seems_more_robust(one)["run_id"]
                text += f" But run {run}, the one that seems more robust, is flagged."
            yield Sentence(text, _ids((one.row, one.base)), certain=not doubted)
    alike = [one for one in found if not one.told_apart]
    if alike:
        low = min(one.found.low for one in alike)
        high = max(one.found.high for one in alike)
        many = f"{counted(len(alike), 'comparison')} of {len(found)} to the uncompressed model"
        yield Sentence(
            f"{many} showed no difference beyond chance (exact McNemar, Holm over all); their "
            f"intervals reach from {100 * low:+.1f} to {100 * high:+.1f} points.",
            _ids([one.row for one in alike]),
            certain=False,
        )


def _methods(found: Sequence[Difference]) -> Iterator[Sentence]:
    """How many pairs of methods can be told apart; the table says which."""
    if not found:
        return
    apart = [one for one in found if one.told_apart]
    doubted = [one for one in apart if _is_doubted(_seems_more_robust(one))]
    but = f" Of {len(doubted)} the run that seems more robust is flagged." if doubted else ""
    yield Sentence(
        f"Method against method: {len(apart)} of {counted(len(found), 'pair')} of compressed "
        f"variants under one attack differ beyond chance (exact McNemar, Holm over all).{but}",
        _ids([row for one in apart or found for row in (one.row, one.base)]),
        certain=len(apart) > len(doubted),
    )


def _change(one: Difference) -> str:
    found = one.found
    more = "more" if found.difference > 0 else "less"
    return (
        f"{variant(one.row)} is {more} robust than its uncompressed model under "
        f"{one.row['attack']}: {100 * found.difference:+.1f} points "
        f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}], p = {one.adjusted:.2g} after Holm."
    )


def _hidden(found: Contents) -> Iterator[Sentence]:
    """What a defence hides from an attack that does not adapt to it, each in its flag's words."""
    for row in found.finished:
        for flag in row["flags"]:
            if flag["id"] == "false-robustness":
                text = f"{variant(row)}, under {row['attack']}: {flag['text']}"
                yield Sentence(text, _ids((row,)), certain=True)


def _resolution(found: Contents) -> Iterator[Sentence]:
    """What so many images can show at all, in the middle of what was measured."""
    sizes = {row["n"] for row in found.finished if row["n"]}
    if len(sizes) != 1:
        return
    n = sizes.pop()
    bases = [one for one in found.worst if one.is_base and one.share > 0]
    if not bases:
        return
    share = bases[0].share
    reach = [
        smallest_difference(n, share, how) for how in (Disagreement.least, Disagreement.independent)
    ]
    if reach[0] is None:
        text = f"{n} images are too few to show any difference to {in_percent(share)} %."
    else:
        far = "none" if reach[1] is None else _points(reach[1])
        text = (
            f"With {n} images a fall from {in_percent(share)} % shows in four of five studies only "
            f"from {_points(reach[0])} points on, where two variants break the same images, and "
            f"from {far} on, where they have nothing to do with each other."
        )
    yield Sentence(text, _ids(bases[0].rows), certain=False)


def _points(share: float) -> str:
    points = 100 * share
    return f"{points:.0f}" if points >= 9.95 else f"{points:.2g}"


def _doubts(found: Contents) -> Iterator[Sentence]:
    doubted = [row for row in found.finished if is_flagged(row)]
    if doubted:
        flags = [flag for row in doubted for flag in row["flags"]]
        told = sorted({flag["id"] for flag in flags if flag["level"] == "danger"})
        yield Sentence(
            f"{counted(len(doubted), 'run')} of {len(found.finished)} cannot be quoted as they "
            f"are: {', '.join(told)}.",
            _ids(doubted),
            certain=False,
        )


def _unfinished(found: Contents) -> Iterator[Sentence]:
    missing = [row for row in found.rows if row["status"] != "finished"]
    if missing:
        yield Sentence(
            f"{counted(len(missing), 'run')} of {len(found.rows)} are not finished and have no "
            "part in this report.",
            _ids(missing),
            certain=False,
        )
