"""What a number of images can show, and how many are needed, in words; no widgets."""

from __future__ import annotations

from functools import lru_cache

from engine.statistics.sample_size import (
    LEVEL,
    MOST_IMAGES,
    POWER,
    Disagreement,
    images_needed,
    smallest_difference,
)

_WAYS = (Disagreement.least, Disagreement.independent)
"""Two variants break the same images as far as they can; or have nothing to do with each other."""

MIDDLE = 0.5
"""The robust accuracy at which independent variants disagree most."""

HOW = (
    f"A true difference is found in {POWER * 100:.0f} % of all studies (exact McNemar test, p < "
    f"{LEVEL:g}). "
    "The first number is for two variants that break the same images as far as they can, the "
    "second for two that break images independently of each other."
)

FROM = f"What a number of images shows is told from {MIDDLE * 100:.0f} %, where chance is largest."


def seen(images: int) -> str:
    """For example ``With 50 images, paired, only differences above about 15 to 29 points ...``."""
    if images > MOST_IMAGES:
        return ""
    so_many, power = f"With {_images(images)}, paired,", f"(power {POWER * 100:.0f} %)"
    points = _reach(images)
    if points is None:
        return f"{so_many} not even a fall from {MIDDLE * 100:.0f} % to 0 can be seen {power}."
    return (
        f"{so_many} only differences above about {points[0]:.2g} to {points[1]:.2g} points can be "
        f"seen {power}."
    )


def seen_briefly(images: int) -> str:
    """The same where there is little room: ``≥ 15–29 points``."""
    points = _reach(images)
    return f"≥ {_brief(points[0])}–{_brief(points[1])} points" if points else "shows nothing"


def _brief(points: float) -> str:
    if points < 0.1:
        return f"{points:.1g}"
    return f"{points:.1f}" if points < 9.95 else f"{points:.0f}"


@lru_cache(maxsize=8)
def _reach(images: int) -> tuple[float, float] | None:
    """The smallest differences that can be seen, in points, for each of the ways."""
    alike, apart = (smallest_difference(images, MIDDLE, how) for how in _WAYS)
    return None if alike is None or apart is None else (100 * alike, 100 * apart)


def needed(robust: float, other: float) -> str:
    """How many images tell two robust accuracies, in percent, apart."""
    if robust == other:
        return "Both are the same: there is no difference to be seen."
    counts = [images_needed(how(robust / 100, other / 100)) for how in _WAYS]
    few, many = (f"{count:,}" if count else f"more than {MOST_IMAGES:,}" for count in counts)
    between = few if few == many else f"{few} to {many}"
    return f"Paired, about {between} images (power {POWER * 100:.0f} %)."


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
