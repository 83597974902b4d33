"""Flags: what a reader of a result has to know before believing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

VIEWS = frozenset({"straight-through-view", "averaged-view"})
"""How gradients were searched."""

ABOUT_GRADIENTS = frozenset(
    {
        "no-gradient",
        "nonfinite-gradient",
        "zero-gradient",
        "saturated-loss",
        "gradient-disagrees",
        "secants-disagree",
        "logit-scale",
        "unconstrained-survives",
        "view-disagrees",
    }
)
"""Doubts about what a gradient attack follows."""

ABOUT_SEARCH = ABOUT_GRADIENTS | {
    "probabilities",
    "unfinished",
    "silent-success",
    "no-transfer-check",
    "no-survivor-check",
}
"""Doubts whether a stronger search would have broken more."""


class FlagRow(TypedDict):
    """A flag as it is stored and exported."""

    id: str
    level: str
    text: str


Level = Literal["info", "warning", "danger"]


@dataclass(frozen=True)
class Flag:
    """One finding of a diagnostic.

    Attributes:
        id: stable name, for example ``zero-gradient``.
        level: info, warning, or danger (the result is not to be trusted as it stands).
        text: one or two sentences for people.
    """

    id: str
    level: Level
    text: str

    def to_dict(self) -> FlagRow:
        """The flag as JSON keeps it."""
        return FlagRow(id=self.id, level=self.level, text=self.text)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Flag:
        """The flag that ``to_dict`` wrote."""
        return cls(data["id"], data["level"], data["text"])


def doubted(flags: Iterable[Flag]) -> bool:
    """Whether one of them objects to the gradients of a variant."""
    return any(flag.id in ABOUT_GRADIENTS and flag.level != "info" for flag in flags)


def relevant(flags: Iterable[Flag], *, follows_gradient: bool, held: bool) -> list[Flag]:
    """Those that speak about a run: no doubt where there is nothing to doubt.

    Args:
        flags: of its variant and of its own.
        follows_gradient: the attack does; how gradients are is of no matter to others.
        held: an image survived, or the attack has no eps and its distances may be too large;
            an attack that broke all images cannot have been too weak.
    """
    moot = frozenset() if held else ABOUT_SEARCH
    moot |= frozenset() if follows_gradient else ABOUT_GRADIENTS | VIEWS
    return [flag for flag in flags if flag.id not in moot]
