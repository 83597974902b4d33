"""Networks of the same tensors that are wired otherwise: accuracy on the user's images decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from engine.data import ImageSet
from engine.errors import SpecError
from engine.importing import setting_trials
from engine.importing.candidate_model import Patient
from engine.importing.fit import Fit
from engine.importing.report import Guess, Scaling
from engine.importing.setting_trials import Outcome
from engine.importing.verdict import Doubt
from engine.models.registry import build

_FIRST = 64
"""Images that each is tried on; what these cannot tell apart is tried on more."""


def choose_wiring(
    patient: Patient,
    images: ImageSet,
    device: torch.device,
    told: Scaling | None,
    number: int | None = None,
) -> None:
    """Let a patient be the network that is clearly the most accurate, else the usual one.

    Each is tried without a normalisation and with one, as other constants differ little from one
    of these two.

    Args:
        patient: with ``others``; gets notes, guesses, and doubts if the images do not tell.
        images: that decide.
        device: where to compute.
        told: the normalisation, if it is known.
        number: of the one that the user chose, from 1 for the usual one; None to try them.

    Raises:
        SpecError: there is no such number.
    """
    if number is not None:
        _take(patient, number)
        return
    every = setting_trials.scalings(images)
    options = [every[0], every[-1]]
    if told is not None or patient.settled:
        options = [told if told is not None else patient.scaling]
    usual = patient.network(images.shape, None)
    makers: list[Callable[[], nn.Module]] = [
        lambda: usual,
        *(lambda fit=fit: _network(fit, images) for fit in patient.others),
    ]
    names = [patient.architecture, *(one.architecture for one in patient.others)]

    def outcome(place: int, count: int) -> Outcome:
        rows = range(min(count, len(images)))
        return _outcome(names[place], makers[place], images, rows, options, device)

    outcomes = [outcome(place, _FIRST) for place in range(len(names))]
    left = setting_trials.as_accurate(outcomes)
    most = setting_trials.trial_images(setting_trials.macs(usual, images), images)
    for place in left if len(left) > 1 else ():
        outcomes[place] = outcome(place, most)
    chosen = _best(outcomes)
    if chosen:
        patient.take(patient.others[chosen - 1])
    _tell(patient, outcomes, chosen)


def _take(patient: Patient, number: int) -> None:
    count = len(patient.others) + 1
    if number > count:
        raise SpecError(
            f"candidate is {number} but must be from 1 to {count}.",
            "Leave out --candidate to have them tried.",
            field="candidate",
        )
    patient.notes.append(f"Candidate {number} of {count}, as told.")
    if number > 1:
        patient.take(patient.others[number - 2])


def _best(outcomes: Sequence[Outcome]) -> int:
    """The usual one, unless another is clearly more accurate, however many were tried."""
    better = [
        place
        for place in range(1, len(outcomes))
        if setting_trials.clearly_better(outcomes[place], outcomes[0], len(outcomes) - 1)
    ]
    return max(better, key=lambda place: outcomes[place].accuracy, default=0)


def _network(fit: Fit, images: ImageSet) -> nn.Module:
    network = build(fit.wiring or fit.architecture, images.shape, fit.classes)
    network.load_state_dict({**network.state_dict(), **fit.state}, strict=True)
    return network.eval()


def _outcome(
    name: str,
    make: Callable[[], nn.Module],
    images: ImageSet,
    rows: range,
    options: Sequence[Scaling | None],
    device: torch.device,
) -> Outcome:
    """With the normalisation that fits it best; always wrong if it takes no such images."""
    try:
        network = make()
        found = [
            setting_trials.outcome(
                name, setting_trials.with_scaling(network, option), images, rows, device
            )
            for option in options
        ]
    except (RuntimeError, ValueError):  # maps too small to pool, or to normalise one by one
        wrong = torch.zeros(len(rows), dtype=torch.bool)
        return Outcome(name, wrong, torch.full((len(rows),), math.inf, dtype=torch.float64))
    return found[setting_trials.best(found)]


def _tell(patient: Patient, outcomes: Sequence[Outcome], chosen: int) -> None:
    """What was tried, and who may well be better."""
    winner = outcomes[chosen]
    patient.notes.append(
        f"Its tensors are those of {len(outcomes)} networks; taken is {winner.label}."
    )
    patient.guesses = tuple(
        Guess(
            number=place + 1,
            words=one.label,
            accuracy=one.accuracy,
            images=len(one.right),
            chosen=place == chosen,
        )
        for place, one in enumerate(outcomes)
    )
    for place, one in enumerate(outcomes):
        if place != chosen and setting_trials.perhaps_better(one, winner):
            accuracies = setting_trials.accuracies(one, winner)
            patient.doubts += (Doubt("candidate", str(place + 1), *accuracies),)
