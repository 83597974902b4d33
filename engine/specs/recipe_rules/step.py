"""What the rules look at, and what they answer."""

from __future__ import annotations

from typing import Any, Protocol

from engine.catalog import Params


class StepLike(Protocol):
    """A step of a recipe (``engine.specs.choices.Step``)."""

    @property
    def name(self) -> str:
        """The catalogue id."""

    @property
    def params(self) -> dict[str, Any]:
        """All parameters."""

    @property
    def settings(self) -> Params:
        """The parameters as the model of the catalogue."""

    @property
    def label(self) -> str:
        """In words."""


Refusal = tuple[str, str]
"""The reason as a sentence without its end, and the hint."""
