"""What all that is stored of a variant on the same images says about one of its runs.

A run is an upper bound of the robustness of its variant. Whatever else is stored of that
variant on the same images may lower it: other attacks in the same norm whose ball is no
larger, the distances of minimum-norm attacks, examples transferred from other variants, and
what the checks of other runs broke. A run that a rival beats significantly is flagged, and
the flag names the winner; numpy only, free of torch and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine import catalog
from engine.catalog.worst_case import WORST_CASE
from engine.flags import Flag
from engine.statistics.intervals import FloatArray, holm, mcnemar_greater
from engine.statistics.worst_case import WorstCase, survivors, worst_case

SIGNIFICANCE = 0.05
"""Of all rivals of a run together."""

CLOSER = 0.01
"""Distances that differ by less than this share count as equal: searches stop so far apart."""

STRONG_STEPS, STRONG_QUERIES = 20, 1000
"""What a search needs at least to count as evidence."""

_SLACK = 1e-6
"""Relative excess of a distance that still counts as inside, as in every verdict."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What one search found on the images of a variant.

    Attributes:
        run: id of the run that found it; of transferred examples the strongest source.
        title: what searched, to stand in a sentence.
        norm: "Linf" or "L2".
        eps: of its ball, None if it looked for the closest examples.
        distances: (N) of the examples in its norm: 0 where the clean image is misclassified,
            inf where none was found, NaN where it did not look.
        attack: its id in the catalogue; empty for what is no attack on the variant itself.
        kinds: of search (``strong_kinds``).
        random: the variant is, so that what several searches break does not add up: each of
            them is one more draw.
        cascaded: part of a worst case, so that it met only what was left by others.
    """

    run: int
    title: str
    norm: str
    eps: float | None
    distances: FloatArray
    attack: str = ""
    kinds: frozenset[str] = frozenset()
    random: bool = False
    cascaded: bool = False

    def inside(self, eps: float) -> FloatArray:
        """(N) 1 where the variant is broken within eps, 0 where not, NaN where not looked."""
        within = (self.distances <= eps * (1 + _SLACK)).astype(float)
        return np.where(np.isnan(self.distances), np.nan, within)


@dataclass(frozen=True)
class Verdict:
    """What the rivals of a run say about it.

    Attributes:
        rivals: how many it was compared with.
        flags: as the results have them.
        agree: several strong attacks of different kinds, this one among them, found the same.
        kinds: of the strong searches in its threat model that came as far, this one included;
            without an eps the attacks themselves.
        survivors: images that survive all of them, of a random variant the strongest of them;
            None without an eps.
        closest: median distance of the closest examples that any of them found; None with an
            eps, and infinite where half of the images have none.
    """

    rivals: int = 0
    flags: list[Flag] = field(default_factory=list)
    agree: bool = False
    kinds: list[str] = field(default_factory=list)
    survivors: int | None = None
    closest: float | None = None

    def to_dict(self) -> Row:
        """The verdict as JSON keeps it."""
        finite = self.closest is not None and np.isfinite(self.closest)
        flags = [flag.to_dict() for flag in self.flags]
        return {**vars(self), "flags": flags, "closest": self.closest if finite else None}


@dataclass(frozen=True)
class _Duel:
    rival: Finding
    own: float
    other: float
    images: int
    p_value: float


def strong_kinds(attack: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of search in an attack that count as evidence, with these parameters.

    Of a worst case those of its attacks. Empty for one that is unknown, that makes fewer than 20
    steps or 1,000 queries, whose steps do not lead from the image to the edge of the ball, or
    whose entry names none: a single step, a loose bound, a reference.

    Args:
        attack: ``name`` and ``params``, as specs have them.
    """
    params = attack["params"]
    if attack["name"] == WORST_CASE:
        return frozenset().union(*map(strong_kinds, params["attacks"]))
    entry = catalog.section("attacks").get(attack["name"])
    steps, queries = params.get("steps", STRONG_STEPS), params.get("n_queries", STRONG_QUERIES)
    if entry is None or steps < STRONG_STEPS or queries < STRONG_QUERIES or _falls_short(params):
        return frozenset()
    if params.get("version") == "rand":
        return frozenset()  # of its parts only that without a gradient makes enough steps
    return kinds_of(attack)


def kinds_of(attack: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of search in an attack as its entry and parameters name them, however weak it is.

    Args:
        attack: one of the catalogue, ``name`` and ``params``, as specs have them.
    """
    params, kinds = attack["params"], catalog.find("attacks", attack["name"]).kinds
    # With targets it climbs the logit of one rival class alone.
    margin = bool(params.get("targets")) or params.get("loss") in ("dlr", "margin")
    return frozenset({"margin"}) if margin and kinds == {"cross-entropy"} else kinds


def _falls_short(params: Mapping[str, Any]) -> bool:
    """Whether all steps of an attack together are shorter than the radius of its ball."""
    eps, stride = params.get("eps"), params.get("step_size") or params.get("alpha")
    return bool(eps and stride and stride * params.get("steps", math.inf) < eps)


def judge(own: Finding, others: Sequence[Finding]) -> Verdict:
    """Compare a run with everything else that is stored of its variant on its images.

    Each rival is tested one-sidedly: with an eps by the exact McNemar test on who breaks what
    inside it, without one by the exact sign test on whose examples are closer. The level
    holds for all rivals together (Holm).

    Args:
        own: what the run itself found.
        others: all findings of the same variant and images, of whatever norm and eps; one of
            the run itself, such as of its check, is no rival but counts for what is left.
    """
    known = [one for one in others if _within_reach(own, one)]
    rivals = [one for one in known if one.run != own.run]
    duels = [_duel(own, rival) for rival in rivals]
    adjusted = holm([duel.p_value for duel in duels])
    lost = [(p, duel) for p, duel in zip(adjusted, duels, strict=True) if p < SIGNIFICANCE]
    flags = [_flag(own, lost, len(duels))] if lost else []
    judged = _in_ball if own.eps is not None else _of_distances
    verdict = replace(judged(own, known, rivals), rivals=len(rivals), flags=flags)
    strong = not lost and bool(own.kinds) and len(verdict.kinds) > 1
    return replace(verdict, agree=verdict.agree and strong)


def who_broke(own: Finding, searches: Sequence[Finding]) -> WorstCase | None:
    """Who broke what in the threat model of a run; None where it has no ball.

    Args:
        own: what the run itself found.
        searches: all findings of its variant and images, of whatever norm and eps, its own too.
    """
    if own.eps is None or not own.norm:
        return None
    eps = own.eps
    every = [one for one in searches if _within_reach(own, one)]
    broken = [one.inside(eps) == 1 for one in every]
    return worst_case(
        [(one.title, one.run) for one in every],
        np.array(broken).reshape(len(every), len(own.distances)),
        own.distances == 0,
        met_all=[not one.cascaded for one in every],
        random=own.random,
    )


def _in_ball(own: Finding, known: Sequence[Finding], rivals: Sequence[Finding]) -> Verdict:
    """Survivors, kinds, and whether the run itself came as far as all others together."""
    assert own.eps is not None
    together = _together(own, known, own.eps)
    confirmed = [own, *(one for one in rivals if _as_strong(one, together))]
    kinds = sorted(frozenset().union(*(one.kinds for one in confirmed)))
    survivors = int(np.sum(together.inside(own.eps) == 0))
    same = _duel(own, together).p_value >= SIGNIFICANCE
    return Verdict(agree=same, kinds=kinds, survivors=survivors)


def _of_distances(own: Finding, known: Sequence[Finding], rivals: Sequence[Finding]) -> Verdict:
    """All are of one kind, but go different ways, so it is attacks that agree."""
    confirmed = [own, *(one for one in rivals if _as_strong(one, own))]
    kinds = sorted({one.attack for one in confirmed if one.kinds})
    closest = _closest_median(own, known)
    same = _median(own.distances) <= closest * (1 + CLOSER)
    return Verdict(agree=same, kinds=kinds, closest=closest)


def _as_strong(rival: Finding, own: Finding) -> bool:
    """Whether a rival had the same room and is not significantly weaker."""
    if not rival.kinds or (rival.eps is not None and rival.eps != own.eps):
        return False
    same_room = rival if rival.eps == own.eps else replace(rival, eps=own.eps)
    return _duel(same_room, own).p_value >= SIGNIFICANCE


def _duel(own: Finding, rival: Finding) -> _Duel:
    return _closest(own, rival) if own.eps is None else _ball(own, rival, own.eps)


def _within_reach(own: Finding, rival: Finding) -> bool:
    """Whether what a rival finds lies in the threat model of the run."""
    if not own.norm or rival.norm != own.norm:
        return False
    if own.eps is None or rival.eps is None:
        return True
    return rival.eps <= own.eps * (1 + _SLACK)


def _ball(own: Finding, rival: Finding, eps: float) -> _Duel:
    mine, theirs = own.inside(eps), rival.inside(eps)
    looked = ~np.isnan(mine) & ~np.isnan(theirs)
    a, b = mine[looked] == 1, theirs[looked] == 1
    p_value = _greater(int(np.sum(b & ~a)), int(np.sum(a & ~b)))
    return _Duel(rival, float(np.sum(a)), float(np.sum(b)), len(a), p_value)


def _closest(own: Finding, rival: Finding) -> _Duel:
    if rival.eps is not None:
        return _ball(own, rival, rival.eps)
    looked = ~np.isnan(own.distances) & ~np.isnan(rival.distances)
    a, b = own.distances[looked], rival.distances[looked]
    closer, farther = int(np.sum(b < a * (1 - CLOSER))), int(np.sum(a < b * (1 - CLOSER)))
    return _Duel(rival, _median(a), _median(b), len(a), _greater(closer, farther))


def _greater(more: int, less: int) -> float:
    """The exact test where it can reject; it is costly with thousands of images."""
    return mcnemar_greater(more, less) if more > less else 1.0


def _median(distances: FloatArray) -> float:
    return float(np.median(distances)) if len(distances) else float("nan")


def _together(own: Finding, rivals: Sequence[Finding], eps: float) -> Finding:
    """Everything that was found in a ball, as if one attack had found it.

    On a random variant what the most successful one found.
    """
    broken = np.array([one.inside(eps) == 1 for one in (own, *rivals)])
    left = survivors(broken, random=own.random)
    return replace(own, eps=eps, distances=np.where(left, np.inf, 0.0))


def _closest_median(own: Finding, rivals: Sequence[Finding]) -> float:
    found = np.array([one.distances for one in (own, *rivals)])
    return _median(np.nanmin(found, axis=0))


def _others(count: int) -> str:
    if not count:
        return ""
    return " One more is stronger too." if count == 1 else f" {count} more are stronger too."


def _flag(own: Finding, lost: Sequence[tuple[float, _Duel]], compared: int) -> Flag:
    p, best = min(lost, key=lambda one: (one[0], -one[1].other if own.eps else one[1].other))
    others = _others(len(lost) - 1)
    p_text = f"p = {p:.2g}" + (f" by Holm for {compared} rivals" if compared > 1 else "")
    rival = best.rival
    if own.eps is None and rival.eps is None:
        text = (
            f"Closer examples are stored: {rival.title} has a median of {best.other:.4g} on the "
            f"same variant and images, this attack {best.own:.4g} (exact sign test, {p_text}). "
            f"Quote the lower one.{others}"
        )
        return Flag("closer-examples", "danger", text)
    where = "" if own.eps is not None else f" within {rival.eps:.4g}"
    text = (
        f"A stronger search is stored: {rival.title} breaks {best.other:.0f}/{best.images} of the "
        f"same images{where} on this variant, this attack only {best.own:.0f} (McNemar exact, "
        f"one-sided, {p_text}). Quote the lower number.{others}"
    )
    return Flag("stronger-attack", "danger", text)
