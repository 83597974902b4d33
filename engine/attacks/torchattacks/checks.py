"""What the attacks of torchattacks cannot work on, said before they start.

The library finds out itself in the middle of a run, with an IndexError or worse, or it gives a
result that means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from engine.attacks.search.search import Search
from engine.catalog import Trait
from engine.errors import AttackError

JSMA_VALUES = 4096
"""Largest image for JSMA: it holds about 30 bytes for every pair of values, 0.5 GB here."""


@dataclass(frozen=True)
class Case:
    """What an attack would meet.

    Attributes:
        classes: logits of the model.
        channels: of the images, likewise height and width.
        parameters: of the attack, under the library's names.
    """

    classes: int
    channels: int
    height: int
    width: int
    parameters: Mapping[str, Any]


Refusal = tuple[str, str]
"""Why, as the second half of a sentence about the attack, and what to do instead."""

Check = Callable[[Case], Refusal | None]


def refuse(
    name: str, search: Search, parameters: Mapping[str, Any], traits: Collection[Trait]
) -> None:
    """Try nothing that is bound to fail.

    Args:
        name: a class of the library.
        search: what it would attack.
        parameters: of its constructor; what is missing has no bearing.
        traits: of its entry.

    Raises:
        AttackError: the attack cannot work on these images, on this model or on its view.
    """
    channels, height, width = search.images.shape[1:]
    case = Case(search.clean.logits.shape[1], channels, height, width, parameters)
    for check in CHECKS.get(name, ()):
        refusal = check(case)
        if refusal is not None:
            reason, hint = refusal
            raise AttackError(f"torchattacks.{name} {reason}.", hint)
    if "gradient" in traits:
        _check_gradient(search)


def _check_gradient(search: Search) -> None:
    """One gradient of one image; it counts as spent on it."""
    row = search.survivors()[:1]
    search.peek(row, search.images[row])


def _needs_classes(least: int, why: str, hint: str, **only: str) -> Check:
    """At least so many classes, if the parameters are as in ``only``."""

    def check(case: Case) -> Refusal | None:
        applies = all(case.parameters.get(key) == value for key, value in only.items())
        if not applies or case.classes >= least:
            return None
        return f"{why} and needs {least} classes, but the model has {case.classes}", hint

    return check


def _colour(case: Case) -> Refusal | None:
    if case.channels == 3:
        return None
    reason = f"filters exactly 3 channels, but the images have {case.channels}"
    return reason, "Use torchattacks.MIFGSM, which has no filter."


def _square_image(case: Case) -> Refusal | None:
    if case.height == case.width:
        return None
    reason = f"takes images to be square, but these are {case.height} x {case.width}"
    return reason, "Crop or resize the images."


def _resizable(case: Case) -> Refusal | None:
    rate = case.parameters.get("resize_rate", 0.9)
    resized = int(case.width * rate)
    if 1 <= resized != case.width:
        return None
    reason = f"with resize_rate {rate} would resize images of side {case.width} to {resized}"
    return reason, "Choose a resize_rate that changes the side, and leaves at least one pixel."


def _few_values(case: Case) -> Refusal | None:
    values = case.channels * case.height * case.width
    if values <= JSMA_VALUES:
        return None
    reason = (
        f"compares all pairs of values, of which it can hold {JSMA_VALUES}^2, "
        f"but an image has {values}"
    )
    return reason, "Use torchattacks.SparseFool."


def _tiles(case: Case) -> Refusal | None:
    """The first tiles and the first window of Square in L2."""
    if case.parameters.get("norm") != "L2":
        return None
    sides = case.height, case.width
    tile = case.height // 5
    start = (case.height - 5 * tile) // 2
    overhang = tile > 1 and any(start + side // tile * tile > side for side in sides)
    share = case.parameters.get("p_init", 0.8)
    window = max(round(math.sqrt(share * case.height * case.width)), 3)
    if tile and not overhang and window + 1 - window % 2 <= min(sides):
        return None
    reason = f"in L2 has no tiles and windows for images of {case.height} x {case.width}"
    return reason, "Use square, which fits any size."


_LABEL_PLUS_ONE = _needs_classes(
    10, "aims at class (label + 1) mod 10", "Use torchattacks.SparseFool."
)
_THREE = "compares the first and the third logit"
_FOUR = "compares the first, the third and the fourth logit"

CHECKS: dict[str, tuple[Check, ...]] = {
    "APGD": (_needs_classes(3, _THREE, "Set loss to ce.", loss="dlr"),),
    "UPGD": (_needs_classes(3, _THREE, "Set loss to ce.", loss="dlr"),),
    "APGDT": (_needs_classes(4, _FOUR, "Use apgd-t, which needs no fourth class."),),
    "AutoAttack": (
        _needs_classes(3, _THREE, "Use autoattack.", version="rand"),
        _needs_classes(4, _FOUR, "Use autoattack.", version="standard"),
        _needs_classes(4, _FOUR, "Use autoattack.", version="plus"),
        _tiles,
    ),
    "DIFGSM": (_square_image, _resizable),
    "JSMA": (_LABEL_PLUS_ONE, _few_values),
    "PIFGSM": (_colour,),
    "PIFGSMPP": (_colour,),
    "Pixle": (_square_image,),
    "Square": (_tiles,),
    "TIFGSM": (_colour, _square_image, _resizable),
}
"""What each class of the library has to be checked for."""
