"""What published rates and counts are: where the arithmetic of a stated number is another one.

Each rule looks at a row's data alone and writes the numbers into its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.catalog.models.architectures import ARCHITECTURES
from engine.catalog.models.published import published as imagenet_weights
from engine.flags import Flag
from engine.report.published.arithmetic import (
    COUNTED,
    WITH_SPARE_STAGE,
    is_quotient,
    left,
    rate_of,
    rounds_to,
)
from engine.report.published.rows import PublishedModel

_IMAGENET = {"resnet-18": "torchvision.resnet18", "mobilenet-v2": "torchvision.mobilenet_v2"}
"""The forms for ImageNet of architectures that have other ones for CIFAR."""

_NEAR = 0.05
"""How far, as a share, a stated size may be from a network's own to be taken for it."""


def size_flags(model: PublishedModel) -> tuple[Flag, ...]:
    """What there is to say of the rate and the count of parameters that a row states."""
    return tuple(flag for rule in _RULES for flag in rule(model))


def true_rate(model: PublishedModel) -> float | None:
    """The rate by weights that a row means; None where nothing tells it."""
    if model.pruned is not None:
        return rate_of(model.pruned)
    if model.rate is not None:
        return model.rate
    if model.teacher in ARCHITECTURES and model.architecture in ARCHITECTURES:
        return _parameters(model.teacher) / _parameters(model.architecture)
    return None


def _share_as_rate(model: PublishedModel) -> Iterator[Flag]:
    pruned, rate = model.pruned, model.stated_rate
    if pruned is None or rate is None or not rounds_to(100 * pruned, rate):
        return
    yield Flag(
        "share-as-rate",
        "warning",
        f"{rate:g}x is the pruned share in percent. {100 * pruned:g} % pruned is "
        f"1 / (1 - {pruned:g}) = {rate_of(pruned):g}x.",
    )


def _scores_counted(model: PublishedModel) -> Iterator[Flag]:
    pruned, stated = model.pruned, model.stated_parameters
    if pruned is None or stated is None or model.architecture not in WITH_SPARE_STAGE:
        return
    file = WITH_SPARE_STAGE[model.architecture]()
    if stated != left(file.with_scores, pruned):
        return
    network = COUNTED[model.architecture]()
    yield Flag(
        "scores-counted",
        "warning",
        f"{stated:,} is {1 - pruned:.2g} x {file.with_scores:,}, its fraction cut off: all numbers "
        f"in the file of the masked network, with a score beside each of {file.weights:,} weights "
        f"and a stage that no forward uses ({file.total - network.total:,} parameters). In use are "
        f"{1 - pruned:.2g} x {network.weights:,} = {left(network.weights, pruned):,} weights and "
        f"{network.rest:,} biases and BatchNorm parameters.",
    )


def _divided(model: PublishedModel) -> Iterator[Flag]:
    rate, stated = model.rate, model.stated_parameters
    if rate is None or stated is None or model.architecture not in COUNTED:
        return
    network = COUNTED[model.architecture]()
    if not is_quotient(stated, network.total, rate):
        return
    kept = network.left_in_convolutions(rate)
    yield Flag(
        "not-counted",
        "info",
        f"{stated:,} is {network.total:,} / {rate:g}, not a count. Where all convolutions and "
        f"nothing else lose 1 - 1/{rate:g}, {kept:,} values are not zero: "
        f"{network.total / kept:.2f}x.",
    )


def _imagenet_size(model: PublishedModel) -> Iterator[Flag]:
    stated, here = model.stated_parameters, model.architecture
    if stated is None or here not in _IMAGENET or model.pruned or model.rate:
        return
    own = _parameters(here)
    there = next(one for one in imagenet_weights() if one.name == _IMAGENET[here]).parameters
    if abs(stated - own) < model.rounded_to or abs(stated - there) > _NEAR * there:
        return
    yield Flag(
        "imagenet-size",
        "warning",
        f"{_short(stated, model)} is about the {ARCHITECTURES[here].title} of ImageNet "
        f"({there:,} with 1,000 classes). The one of CIFAR has {own:,}.",
    )


def _other_networks(model: PublishedModel) -> Iterator[Flag]:
    """A rate that is the quotient of two networks, of which one is not the system's teacher."""
    rate, small, teacher = model.stated_rate, model.architecture, model.teacher
    if rate is None or small not in ARCHITECTURES or teacher not in ARCHITECTURES:
        return
    true = _parameters(teacher) / _parameters(small)
    found = _quotient(model, rate)
    if rounds_to(true, rate) or found is None:
        return
    sizes = f"{_parameters(teacher):,} / {_parameters(small):,}"
    named = "the student's own network" if teacher == small else ARCHITECTURES[teacher].title
    yield Flag(
        "other-networks",
        "warning",
        f"{rate:g}x fits {found}. In the published code {named} teaches: {sizes} = {true:.2f}x.",
    )


def _quotient(model: PublishedModel, rate: float) -> str | None:
    """The two numbers of which a rate is the quotient, in words."""
    own = _parameters(model.architecture)
    smaller = {own: f"{own:,}"}
    if model.stated_parameters:
        smaller[model.stated_parameters] = _short(model.stated_parameters, model)
    for spare, table in ((False, COUNTED), (True, WITH_SPARE_STAGE)):
        for name, counts in table.items():
            total = counts().total
            for size, words in smaller.items():
                if rounds_to(total / size, rate):
                    unused = ", with a stage that no forward uses" if spare else ""
                    return f"{total:,} / {words} ({ARCHITECTURES[name].title}{unused})"
    return None


def _weights_alone(model: PublishedModel) -> Iterator[Flag]:
    if model.bits is None or model.stated_rate != 32 / model.bits:
        return
    yield Flag(
        "weights-alone",
        "info",
        f"{model.stated_rate:g}x is 32 / {model.bits}: the quantised weights alone, without "
        "scales, biases, BatchNorm and layers that stay as they were.",
    )


def _two_networks(model: PublishedModel) -> Iterator[Flag]:
    if model.named_elsewhere:
        yield Flag(
            "two-networks",
            "warning",
            f"The network is {ARCHITECTURES[model.architecture].title} here and "
            f"{model.named_elsewhere} in another table of the same source.",
        )


_RULES: tuple[Callable[[PublishedModel], Iterator[Flag]], ...] = (
    _share_as_rate,
    _scores_counted,
    _divided,
    _imagenet_size,
    _other_networks,
    _weights_alone,
    _two_networks,
)


def _parameters(architecture: str) -> int:
    return ARCHITECTURES[architecture].parameters


def _short(count: int, model: PublishedModel) -> str:
    """A count as it was printed: ``11.7M`` where it was rounded to that."""
    return f"{count / 1e6:g}M" if model.rounded_to >= 10_000 else f"{count:,}"
