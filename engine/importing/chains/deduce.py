"""From a chain of layers to a network: the images decide what its shapes leave open."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from engine.data import ImageSet
from engine.diagnostics.checks import NEAR, SIGNIFICANCE, guess_in_words, guessing, tail
from engine.errors import DataError, ModelError, SpecError
from engine.importing.candidate_model import Patient
from engine.importing.chains.candidates import Candidate, candidates
from engine.importing.chains.geometry import fitting_sides
from engine.importing.chains.network import Convolve, Pool, Reduce, build
from engine.importing.chains.race import Race, Result
from engine.importing.chains.reading import Chain
from engine.importing.report import Guess, Scaling
from engine.importing.setting_trials import clearly_better
from engine.importing.settings import scalings_for
from engine.importing.source import export_classifier
from engine.importing.stated import agree
from engine.importing.verdict import Doubt
from engine.importing.whole_network import from_exported

_MOST_SHOWN = 8
_ODD = 1.4
"""Cost of the most usual network for some images from which on others may be meant."""
_CONVINCING = 0.5
"""How far from guessing to perfect a network is that nobody has to confirm."""
_UNUSUAL = 2.0
"""By how much more a network costs than the most usual one to be surprising: other activations."""
_SURPRISING = 0.9
"""How far from guessing to perfect a surprising network is that nobody has to confirm. On images
that are a little unlike its own, one with another activation may beat the true one."""


def deduce(
    patient: Patient,
    name: str,
    images: ImageSet,
    device: torch.device,
    told: Scaling | None,
    number: int | None,
    keep: bool,
    tell: Callable[[str], None],
) -> None:
    """Give a patient that is a chain its network, as an exported program.

    Args:
        patient: with a chain.
        name: of the file.
        images: that decide.
        device: where to compute.
        told: the normalisation, if the user names it.
        number: of the candidate that the user chose; None to try them.
        keep: go on even if no candidate says more than chance.
        tell: is told what is going on.

    Raises:
        DataError: such images do not fit the layers.
        SpecError: there is no such candidate.
        ModelError: no candidate says more than chance.
    """
    chain = patient.chain
    assert chain is not None
    found = candidates(chain, images.shape)
    if not found:
        raise _misfit(chain, name, images)
    if number is None:
        tell(f"Trying {len(found)} networks that its shapes allow ...")
        options = scalings_for(told, patient, images)
        fixed = told is not None or patient.settled
        race = Race(found, patient.state, images, options[:1] if fixed else options, device)
        result = race.run()
        chosen = _decide(patient, name, result, images, keep)
        better = better_sizes(chain, found, images.shape)
        if better and not stands_out(result, guessing(images.labels, patient.classes)):
            accuracy = next(one.accuracy for one in patient.guesses if one.chosen)
            patient.doubts += (Doubt("odd size", better, accuracy, accuracy),)
    elif number <= len(found):
        chosen = found[number - 1]
        patient.notes.append(f"Candidate {number} of {len(found)}, as told.")
    else:
        raise SpecError(
            f"candidate is {number} but must be from 1 to {len(found)}.",
            "Leave out --candidate to have them tried.",
            field="candidate",
        )
    patient.deduced = chosen.words
    if chain.outputs == 1:
        patient.notes.append("Its one output was taken as the logit z of class 1: logits (0, z).")
    tell("Exporting the network ...")
    _export(patient, build(chosen.operations, patient.state), images.shape, name)


def _export(patient: Patient, network: nn.Module, shape: tuple[int, int, int], name: str) -> None:
    content, notes = export_classifier(network, shape, name)
    made = from_exported(content, shape)
    patient.module, patient.program = made.module, made.program
    patient.compressible, patient.alone = made.compressible, made.alone
    patient.notes += [*notes, *made.notes]


def _decide(patient: Patient, name: str, result: Result, images: ImageSet, keep: bool) -> Candidate:
    """The winner, with what is said of it and against it."""
    winner, best = result.winner.candidate, result.winner.best
    patient.guesses = tuple(
        Guess(
            number=one.candidate.number,
            words=one.candidate.words,
            accuracy=result.accuracy(one),
            images=result.images,
            chosen=one is result.winner,
        )
        for place, one in enumerate(result.ranked)
        if place < _MOST_SHOWN or one in (result.winner, *result.rivals)
    )
    labels = images.labels[: len(best.right)]
    chance = guessing(labels, patient.classes)
    right = int(best.right.sum())
    if tail(right, len(labels), chance + NEAR * (1 - chance)) >= SIGNIFICANCE and not keep:
        raise ModelError(
            f"None of {result.tried} networks that the shapes in {name} allow says much more "
            f"than {guess_in_words(labels, patient.classes)}: the best is right on "
            f"{best.accuracy:.1%} of {len(labels)} images ({winner.words}).",
            f"Measure on images of the kind that it was trained on. {_sizes(patient)}{patient.way}",
            field="dataset",
        )
    patient.notes += _by_how_much(result)
    usual = min(one.candidate.cost for one in result.ranked)
    bar = _SURPRISING if winner.cost - usual >= _UNUSUAL else _CONVINCING
    weak = best.accuracy < chance + bar * (1 - chance)
    if weak and not agree(patient.stated, *best.interval):
        patient.doubts += (Doubt("weak candidate", str(winner.number), *[best.accuracy] * 2),)
    for one in result.rivals:
        accuracies = one.best.accuracy, best.accuracy
        patient.doubts += (Doubt("candidate", str(one.candidate.number), *accuracies),)
    return winner


def _by_how_much(result: Result) -> list[str]:
    """How clearly the network was found."""
    best = result.winner.best
    beaten = [one for one in result.ranked if clearly_better(best, one.best)]
    equal = [one for one in result.others if one not in beaten]
    text = (
        f"Of {result.tried} networks that its shapes allow, this is right on "
        f"{result.accuracy(result.winner):.1%} of {result.images} images"
    )
    if beaten:
        next_best = beaten[0]
        text += f"; next best, {next_best.candidate.words}: {result.accuracy(next_best):.1%}"
    notes = [f"{text}."]
    if equal:
        names = "; ".join(
            f"{one.candidate.words} ({result.accuracy(one):.1%}, candidate {one.candidate.number})"
            for one in equal[:3]
        )
        more = f" and {len(equal) - 3} more" if len(equal) > 3 else ""
        notes.append(f"Not clearly worse, but less usual or no more accurate: {names}{more}.")
    return notes


def better_sizes(chain: Chain, found: Sequence[Candidate], shape: tuple[int, int, int]) -> str:
    """Sizes of images that fit a chain more naturally than these; empty if these are natural.

    Weights of filters work in part with other strides, so that a network for other images may
    be right about many.
    """
    if found[0].cost < _ODD or chain.places in (None, 1):
        return ""
    sides = fitting_sides(chain)
    return "" if shape[1] in sides or not sides else _either(sides)


def stands_out(result: Result, chance: float) -> bool:
    """Whether the winner's strides, padding and pooling are confirmed by the images alone.

    Weights of filters work in part with any of them. So where these are not the images of the
    network, others come near the winner; where they are, none is half as far from guessing.

    Args:
        result: of the race.
        chance: accuracy of guessing, in [0, 1].
    """
    winner = result.winner
    strides = _strides(winner.candidate)
    others = [one for one in result.ranked if _strides(one.candidate) != strides]
    nearest = max((result.accuracy(one) for one in others), default=1.0)
    return nearest - chance < (result.accuracy(winner) - chance) / 2


def _strides(candidate: Candidate) -> list[object]:
    """What it does with the sides of maps."""
    return [
        (one.stride, one.padding)
        if isinstance(one, Convolve)
        else one.window
        if isinstance(one, Pool)
        else one.side
        for one in candidate.operations
        if isinstance(one, Convolve | Pool | Reduce)
    ]


def _sizes(patient: Patient) -> str:
    """The sizes of images that fit best; empty where any fits."""
    chain = patient.chain
    if chain is None or chain.places in (None, 1):
        return ""
    return f"Its shapes fit images of {_either(fitting_sides(chain))} best. "


def _either(sides: Sequence[int]) -> str:
    return " or ".join(f"{side}x{side}" for side in sides) or "no usual size"


def _misfit(chain: Chain, name: str, images: ImageSet) -> DataError:
    """Which images it takes."""
    size = "x".join(map(str, images.shape[1:]))
    colour = {1: "grey", 3: "in colour"}.get(images.shape[0], f"of {images.shape[0]} channels")
    beside = f"the images of {images.label!r} are {size} {colour}"
    if chain.convolutions:
        sides = fitting_sides(chain)
        rest = f"of {_either(sides)} they do" if sides else "of no usual size do they either"
        wants = "" if chain.inputs is None else (
            f" the {chain.inputs:,} numbers that the first linear layer reads "
            f"({chain.convolutions[-1].width} maps of {chain.places} pixels)"
        )  # fmt: skip
        return DataError(
            f"No usual padding, stride and pooling of {name} makes{wants or ' a map'}: {beside}; "
            f"{rest}.",
            _bring(sides),
            field="dataset",
        )
    assert chain.inputs is not None
    side, words = _as_image(chain.inputs)
    return DataError(
        f"The first linear layer of {name} wants {chain.inputs:,} numbers{words}, but {beside}: "
        f"{math.prod(images.shape):,}.",
        _bring([side] if side else []),
        field="dataset",
    )


def _bring(sides: Sequence[int]) -> str:
    """The way to images of a size."""
    text = "Choose images of the size that it was trained on"
    if not sides:
        return f"{text}."
    side = sides[-1]
    return (
        f"{text}; pictures in a folder are brought to it, such as by --resize {side} --crop {side}."
    )


def _as_image(numbers: int) -> tuple[int, str]:
    """The side of the square image that has so many numbers, and that image in words."""
    for channels, words in ((1, "grey"), (3, "in colour")):
        side = math.isqrt(numbers // channels)
        if side * side * channels == numbers:
            return side, f", an image of {side}x{side} {words}"
    return 0, ""
