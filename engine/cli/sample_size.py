"""``crumple sample-size``: how many images tell two robust accuracies apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click

from engine.errors import SpecError
from engine.statistics.sample_size import (
    LEVEL,
    MOST_IMAGES,
    POWER,
    Disagreement,
    images_needed,
    paired_power,
    smallest_difference,
)

_PERCENT = click.FloatRange(0, 100)


@click.command("sample-size")
@click.argument("robust", type=_PERCENT)
@click.argument("other", type=_PERCENT, required=False)
@click.option("--images", type=click.IntRange(1, MOST_IMAGES), help="Of the study; what they tell.")
@click.option(
    "--disagree",
    type=_PERCENT,
    metavar="PERCENT",
    help="Images that only one of the two breaks; unknown, the extremes are told.",
)
@click.option(
    "--power",
    type=click.FloatRange(1, 99.9),
    default=100 * POWER,
    show_default=True,
    metavar="PERCENT",
    help="How surely a true difference shall be found.",
)
def sample_size(
    robust: float, other: float | None, images: int | None, disagree: float | None, power: float
) -> None:
    """Say how many images tell robust accuracies apart, in percent, ROBUST from OTHER.

    Both runs see the same images, as in every study, and are compared by the exact McNemar test.
    With --images: what so many can tell; without OTHER: the smallest difference they show.
    """
    if other is None and images is None:
        raise SpecError(
            "OTHER is missing.", "Give a second accuracy, or --images for the smallest difference."
        )
    if other is not None and other == robust:
        raise SpecError(f"Both accuracies are {robust:g} %: there is no difference to be found.")
    if other is None and disagree is not None:
        raise SpecError("disagree belongs to two accuracies: give OTHER, too.", field="disagree")
    for words, how in _ways(disagree):
        click.echo(f"{words}: {_told(robust / 100, other, images, how, power / 100)}")


def _ways(
    disagree: float | None,
) -> list[tuple[str, Callable[[float, float], Disagreement]]]:
    if disagree is not None:
        return [(f"Disagreeing on {disagree:g} %", partial(Disagreement.of, differ=disagree / 100))]
    return [
        ("Agreeing as far as they can", Disagreement.least),
        ("Breaking images independently", Disagreement.independent),
    ]


def _told(
    robust: float,
    other: float | None,
    images: int | None,
    how: Callable[[float, float], Disagreement],
    power: float,
) -> str:
    if other is None:
        assert images is not None
        least = smallest_difference(images, robust, how, power)
        seen = f"differences from {_points(100 * least)} points on" if least else "no difference"
        return f"{images:,} images show {seen} in {power:.0%} of all studies"
    share = how(robust, other / 100)
    if images is not None:
        found = paired_power(images, share)
        return (
            f"{images:,} images show the difference (p < {LEVEL:g}) in {found:.0%} of all studies"
        )
    needed = images_needed(share, power)
    if needed is None:
        return f"more than {MOST_IMAGES:,} images"
    return (
        f"{needed:,} images, to find the difference in {power:.0%} of all studies (p < {LEVEL:g})"
    )


def _points(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
