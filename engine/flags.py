"""Flags: what a reader of a result has to know before believing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

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

    def to_dict(self) -> dict[str, str]:
        """The flag as JSON keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Flag:
        """The flag that ``to_dict`` wrote."""
        return cls(data["id"], data["level"], data["text"])
