"""How a state dict sits in an architecture."""

from __future__ import annotations

from dataclasses import dataclass

from engine.catalog.models.wiring import Wiring
from engine.importing.read import State
from engine.models.architectures.layouts import Layout

_MOST_NAMED = 4


@dataclass(frozen=True)
class Fit:
    """How a state dict sits in an architecture.

    Attributes:
        architecture: its name.
        layout: the names of tensors that fit best.
        classes: rows of the head.
        channels: of the images.
        state: under our names, with counters that old versions of torch did not have.
        missing: our names of tensors that the file lacks.
        extra: its names of tensors that have no place.
        wrong: what differs in shape, in words.
        wiring: the layers, where no name of an architecture tells them.
        others: networks with the same tensors that are wired otherwise.
    """

    architecture: str
    layout: Layout
    classes: int
    channels: int
    state: State
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong: tuple[str, ...]
    wiring: Wiring | None = None
    others: tuple[Fit, ...] = ()

    @property
    def errors(self) -> int:
        """Tensors that do not fit."""
        return len(self.missing) + len(self.extra) + len(self.wrong)

    def complaint(self) -> str:
        """What does not fit, in words."""
        parts = [
            _named(f"it lacks {_count(self.missing)} of {self.architecture}", self.missing),
            _named(f"it holds {_count(self.extra)} that {self.architecture} has no place for",
                   self.extra),
            _named(f"{_count(self.wrong)} of another shape", self.wrong),
        ]  # fmt: skip
        return "; ".join(part for part in parts if part)


def _count(names: tuple[str, ...]) -> str:
    return f"{len(names)} tensor{'s' if len(names) != 1 else ''}"


def _named(text: str, names: tuple[str, ...]) -> str:
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"{text} ({', '.join(names[:_MOST_NAMED])}{more})" if names else ""
