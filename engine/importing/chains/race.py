"""Candidates side by side on the user's images: few for all, more for those that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from engine.data import ImageSet
from engine.importing import setting_trials
from engine.importing.chains.candidates import Candidate
from engine.importing.chains.network import Workshop
from engine.importing.chains.reading import State
from engine.importing.report import Scaling
from engine.importing.setting_trials import Outcome

_BUDGET = 2.5e11
"""Multiply-accumulates of the first round: seconds on a CPU."""
_LAST_BUDGET = 5e11
"""Of the last round."""
_FEWEST = 16
"""Images of the first round, at least."""
_ROUNDS = ((24, 40), (64, 20), (192, 8))
"""Images of a round, and how many go on for their accuracy, their loss, or as the most usual."""
_SCALINGS_LEFT = 3


@dataclass(eq=False)
class Runner:
    """A candidate, and what it said so far.

    Attributes:
        candidate: the network.
        outcomes: by the place of the normalisation among those tried.
    """

    candidate: Candidate
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def best(self) -> Outcome:
        """With the normalisation that fits it best."""
        found = list(self.outcomes.values())
        return found[setting_trials.best(found)]


@dataclass(frozen=True, eq=False)
class Result:
    """How a race ended.

    Attributes:
        winner: the most usual of those that nothing is clearly better than.
        rivals: those that may well be better, which the images cannot tell.
        others: the rest of the last round.
        tried: how many started.
    """

    winner: Runner
    rivals: tuple[Runner, ...]
    others: tuple[Runner, ...]
    tried: int

    @property
    def ranked(self) -> list[Runner]:
        """All of the last round, most accurate on the images that all saw first."""
        everyone = (self.winner, *self.rivals, *self.others)
        return sorted(everyone, key=lambda one: (-self.accuracy(one), one.candidate.number))

    @property
    def images(self) -> int:
        """How many all of the last round saw."""
        return min(len(one.best.right) for one in (self.winner, *self.rivals, *self.others))

    def accuracy(self, runner: Runner) -> float:
        """Share of those classified correctly."""
        return int(runner.best.right[: self.images].sum()) / self.images


class Race:
    """A race of candidates.

    Args:
        candidates: the most usual first.
        state: the tensors that they share.
        images: with the labels that decide.
        options: the normalisations to try each with.
        device: where to compute.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        state: State,
        images: ImageSet,
        options: Sequence[Scaling | None],
        device: torch.device,
    ) -> None:
        self._workshop = Workshop(state)
        self._images, self._options, self._device = images, options, device
        # Not normalised, and the most different ways to do it: others are alike in what they do.
        self._few = sorted({0, max(len(options) - 2, 0), len(options) - 1})
        self._runners = [Runner(one) for one in _affordable(candidates, len(self._few))]

    def run(self) -> Result:
        """Let them run; losers drop out."""
        left, tried = self._runners, len(self._runners)
        work = sum(one.candidate.macs for one in left) * len(self._few)
        affordable = max(_FEWEST, int(_BUDGET / max(work, 1)))
        for place, (count, going_on) in enumerate(_ROUNDS):
            last = place == len(_ROUNDS) - 1
            for one in left:
                places = range(len(self._options)) if last else self._few
                self._extend(one, places, count if place else min(count, affordable))
            left = _best(left, going_on)
        most = max(one.candidate.macs for one in left)
        for one in left:
            outcomes = one.outcomes
            ranked = sorted((_rank(found), place) for place, found in outcomes.items())
            nearest = [place for _, place in ranked[:_SCALINGS_LEFT]]
            one.outcomes = {place: outcomes[place] for place in nearest}
            self._extend(one, nearest, setting_trials.trial_images(most, self._images))
        result = _result(left, tried)
        if result.rivals:
            self._look_again((result.winner, *result.rivals))
            result = _result(left, tried)
        return result

    def _look_again(self, runners: Sequence[Runner]) -> None:
        work = sum(one.candidate.macs * len(one.outcomes) for one in runners)
        for one in runners:
            self._extend(one, list(one.outcomes), int(_LAST_BUDGET / max(work, 1)))

    def _extend(self, runner: Runner, places: Sequence[int], count: int) -> None:
        """Try a candidate with some normalisations on the first so many images."""
        network = self._workshop.network(runner.candidate.operations)
        for place in places:
            before = runner.outcomes.get(place)
            begin = len(before.right) if before else 0
            rows = range(begin, max(begin, min(count, len(self._images))))
            if not rows:
                continue
            option = self._options[place]
            found = setting_trials.outcome(
                setting_trials.label_of(option),
                setting_trials.with_scaling(network, option),
                self._images,
                rows,
                self._device,
                before.sharpness if before and begin >= _ROUNDS[-1][0] else None,
            )
            runner.outcomes[place] = before.joined(found) if before else found


def _affordable(candidates: Sequence[Candidate], options: int) -> list[Candidate]:
    """The most usual ones that the budget of the first round allows; two at least."""
    left = _BUDGET
    found: list[Candidate] = []
    for one in candidates:
        left -= one.macs * _FEWEST * options
        if left >= 0 or len(found) < 2:
            found.append(one)
    return found


def _rank(outcome: Outcome) -> tuple[float, float]:
    return -outcome.accuracy, outcome.loss


def _best(runners: Sequence[Runner], count: int) -> list[Runner]:
    """Those that are right most often, those of the lowest loss, and the most usual of the rest.

    The last are those that the images so far do not clearly speak against.
    """
    tops = {one.candidate.number: min(one.outcomes.values(), key=_rank) for one in runners}
    right = sorted(runners, key=lambda one: _rank(tops[one.candidate.number]))
    sure = sorted(runners, key=lambda one: min(each.loss for each in one.outcomes.values()))
    first = tops[right[0].candidate.number]
    usual = [
        one
        for one in runners
        if not setting_trials.clearly_better(first, tops[one.candidate.number])
    ]
    chosen = {one.candidate.number for one in (*right[:count], *sure[:count], *usual[:count])}
    return [one for one in runners if one.candidate.number in chosen]


def _result(runners: Sequence[Runner], tried: int) -> Result:
    """The most usual of those that no other is clearly more accurate than.

    Of many, a few are better by luck alone: what is clear is so for all of them together. To ask
    the user, it is enough that one is more accurate by itself, or its loss is clearly lower: a
    smoother activation than the true one can have that on images of another kind.
    """
    outcomes, count = [one.best for one in runners], len(runners)

    def beaten(place: int) -> bool:
        return any(setting_trials.clearly_better(one, outcomes[place], count) for one in outcomes)

    lowest = min(range(len(runners)), key=lambda place: _rank(outcomes[place]))
    first = next((place for place in range(len(runners)) if not beaten(place)), lowest)
    rivals = [
        place
        for place, one in enumerate(outcomes)
        if place != first
        and setting_trials.perhaps_better(one, outcomes[first])
        and (
            setting_trials.clearly_better(one, outcomes[first])
            or setting_trials.clearly_lower(one, outcomes[first], count)
        )
    ]
    others = [place for place in range(len(runners)) if place != first and place not in rivals]
    return Result(
        runners[first],
        tuple(runners[place] for place in rivals),
        tuple(runners[place] for place in others),
        tried,
    )
