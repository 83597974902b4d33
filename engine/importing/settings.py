"""Which mask and which normalisation: told, or found by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from engine.data import ImageSet
from engine.errors import ModelError, SpecError
from engine.importing import setting_trials
from engine.importing.candidate_model import Patient
from engine.importing.report import Scaling
from engine.importing.scores import PLAUSIBLE, kept_by_zeros
from engine.importing.stated import agree
from engine.importing.verdict import Doubt

Cell = tuple[float | None, int]
"""A share k, and the place of a normalisation among those tried."""

Grid = dict[Cell, setting_trials.Outcome]


@dataclass(frozen=True, eq=False)
class Setting:
    """What was chosen, all that was tried, and what speaks against the choice.

    Attributes:
        network: the one chosen, without normalisation.
    """

    network: nn.Module
    kept: float | None
    scaling: Scaling | None
    scalings: tuple[tuple[setting_trials.Outcome, bool], ...]
    densities: tuple[tuple[setting_trials.Outcome, bool], ...]
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]


def settle(
    patient: Patient, images: ImageSet, device: torch.device, told: Scaling | None
) -> Setting:
    """Settle k and the normalisation: told ones are kept, but compared with the others.

    Settings that the first images cannot tell apart are tried on more.

    Raises:
        SpecError: what was told does not fit the channels of the images.
        ModelError: what came with the weights does not.
    """
    shares = [patient.kept] if not patient.scores else _shares(patient.kept)
    options = scalings_for(told, patient, images)
    fixed = told is not None or patient.settled
    already = kept_by_zeros(patient.state, patient.scores)

    @lru_cache(maxsize=1)  # masks of large networks take seconds, and go through all settings
    def network(kept: float | None) -> nn.Module:
        # Masked already, the weights stay as they are stored.
        return patient.network(images.shape, None if kept == already else kept)

    def model(cell: Cell) -> nn.Module:
        return setting_trials.with_scaling(network(cell[0]), options[cell[1]])

    macs = setting_trials.macs(network(shares[0]), images)
    first = range(setting_trials.trial_images(macs, images))
    grid = {
        (kept, place): setting_trials.outcome(
            setting_trials.label_of(option), model((kept, place)), images, first, device
        )
        for kept in shares
        for place, option in enumerate(options)
    }
    cells = _candidates(grid, patient, fixed)
    if len(cells) > 1:
        _look_again(grid, cells, model, images, macs, device)
    at = cells[_best(patient, [grid[cell] for cell in cells], fixed)]
    return _setting(patient, network(at[0]), grid, options, at, fixed)


def _candidates(grid: Grid, patient: Patient, fixed: bool) -> list[Cell]:
    """What may be chosen: nothing but what was told, and of that what is most accurate.

    Of a complete network also what it is without a normalisation.
    """
    cells = [
        cell
        for cell in grid
        if (not patient.kept_known or cell[0] == patient.kept) and (not fixed or cell[1] == 0)
    ]
    equal = [cells[place] for place in setting_trials.as_accurate([grid[cell] for cell in cells])]
    none = [(kept, place) for kept, place in cells if place == 0 and patient.complete]
    return list(dict.fromkeys([*none, *equal]))


def _best(patient: Patient, outcomes: list[setting_trials.Outcome], fixed: bool) -> int:
    if patient.complete and not fixed:
        return setting_trials.best_complete(outcomes)
    return setting_trials.best(
        outcomes, setting_trials.CONVENTIONS.get(patient.layout, ""), patient.stated
    )


def _look_again(
    grid: Grid,
    cells: list[Cell],
    model: Callable[[Cell], nn.Module],
    images: ImageSet,
    macs: int,
    device: torch.device,
) -> None:
    """Try some cells on further images."""
    begin = len(grid[cells[0]].right)
    more = range(begin, setting_trials.more_images(macs, len(cells), images))
    for cell in cells if more else ():
        one = grid[cell]
        further = setting_trials.outcome(
            one.label, model(cell), images, more, device, one.sharpness
        )
        grid[cell] = one.joined(further)


def _shares(kept: float | None) -> list[float | None]:
    return list(dict.fromkeys([*([kept] if kept is not None else []), *PLAUSIBLE]))


def scalings_for(told: Scaling | None, patient: Patient, images: ImageSet) -> list[Scaling | None]:
    """What to try; what was told comes first.

    Raises:
        SpecError: what was told does not fit the channels of the images.
        ModelError: what came with the weights does not.
    """
    if told is None and patient.settled:
        _check_channels(patient.scaling, images)
        return [patient.scaling]
    if told is None:
        return setting_trials.scalings(images)
    if {len(told.mean), len(told.std)} != {images.shape[0]}:
        raise SpecError(
            f"mean and std need {images.shape[0]} numbers each, one per channel of the images."
        )
    return [told, *(one for one in setting_trials.scalings(images) if not _same(one, told))]


def _check_channels(scaling: Scaling | None, images: ImageSet) -> None:
    count = images.shape[0] if scaling is None else len(scaling.mean)
    if count not in (1, images.shape[0]):
        raise ModelError(
            f"The checkpoint normalises {count} channels, but the images of {images.label!r} have "
            f"{images.shape[0]}."
        )


def _same(first: Scaling | None, second: Scaling) -> bool:
    return first is not None and all(
        abs(a - b) < 1e-3
        for a, b in zip(first.mean + first.std, second.mean + second.std, strict=True)
    )


def _setting(
    patient: Patient,
    network: nn.Module,
    grid: Grid,
    options: list[Scaling | None],
    at: Cell,
    fixed: bool,
) -> Setting:
    kept, place = at
    chosen = grid[at]
    scalings = tuple((one, cell[1] == place) for cell, one in grid.items() if cell[0] == kept)
    shares = list(dict.fromkeys(cell[0] for cell in grid))
    densities: dict[float | None, setting_trials.Outcome] = {}
    for share in shares if patient.scores else ():
        column = [grid[share, other] for other in ([place] if fixed else range(len(options)))]
        densities[share] = column[setting_trials.best(column)]
    others = [one for one, is_chosen in scalings if not is_chosen]
    usual = setting_trials.CONVENTIONS.get(patient.layout) == chosen.label
    known = fixed or patient.complete or (usual and agree(patient.stated, *chosen.interval))
    tries = len(others) if patient.complete else 1
    doubts, notes = _normalisation_doubts(chosen, others, known, tries), []
    for share, one in densities.items():
        if share != kept and setting_trials.clearly_better(one, chosen):
            doubts.append(Doubt("density", f"{share:g}", one.accuracy, chosen.accuracy, kept))
    if not fixed and others:
        notes.append(_by_how_much(chosen, others, usual))
    rivals = [one for share, one in densities.items() if share != kept]
    if patient.scores and not patient.kept_known:
        sure = all(setting_trials.clearly_better(chosen, one) for one in rivals)
        notes.append(
            f"k is not in the file; of those tried, k = {kept:g} fits best"
            f"{'' if sure else ', but not clearly'}."
        )
        if not sure:
            doubts.append(Doubt("unknown density", f"{kept:g}", chosen.accuracy, chosen.accuracy))
    lines = tuple((_labelled(share, one), share == kept) for share, one in densities.items())
    return Setting(network, kept, options[place], scalings, lines, tuple(doubts), tuple(notes))


def _normalisation_doubts(
    chosen: setting_trials.Outcome,
    others: list[setting_trials.Outcome],
    known: bool,
    tries: int = 1,
) -> list[Doubt]:
    """Rivals that are clearly better; and, if it is not known which, those that may well be."""
    doubts = []
    for one in others:
        kind = ""
        if setting_trials.clearly_better(one, chosen, tries):
            kind = "normalisation"
        elif (
            not known
            and one.label != setting_trials.OWN
            and setting_trials.perhaps_better(one, chosen)
        ):
            kind = "unclear normalisation"
        if kind:
            doubts.append(Doubt(kind, one.label, *setting_trials.accuracies(one, chosen)))
    return doubts


def _by_how_much(
    chosen: setting_trials.Outcome, others: list[setting_trials.Outcome], usual: bool
) -> str:
    """How clearly the normalisation was found."""
    equal = [one for one in others if not setting_trials.clearly_better(chosen, one)]
    rival = max(others, key=lambda one: one.accuracy)
    better, own = setting_trials.accuracies(rival, chosen)
    text = f"Normalisation {chosen.label!r}: {100 * (own - better):+.1f} points beside "
    text += repr(rival.label)
    if not equal:
        return f"{text}, clearly the best."
    why = " It is what published models with these names of tensors use." if usual else ""
    names = ", ".join(one.label for one in equal)
    return f"{text}; {len(chosen.right)} images cannot tell it from: {names}.{why}"


def _labelled(share: float | None, one: setting_trials.Outcome) -> setting_trials.Outcome:
    text = "k = 1 (mask ignored)" if share == 1 else f"k = {share:g}"
    return replace(one, label=text)
