"""What every attack is: a search with the parameters of its catalogue entry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog import Params

P = TypeVar("P", bound=Params)


class Attack(ABC, Generic[P]):
    """An attack with its parameters.

    Args:
        params: those of its catalogue entry, which says what each means, with bounds and defaults.
    """

    def __init__(self, params: P) -> None:
        self.params = params

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.params)
        return f"{type(self).__name__}({given})"

    @abstractmethod
    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors of the search, in one pass."""
