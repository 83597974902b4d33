"""Methods from outside in the catalogue: where each comes from; free of torch.

``engine.extensions`` finds them and brings them into the catalogue (``catalog.use_outside``).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

SHOWN = 7
"""Digits of a hash in labels."""


class Origin(BaseModel):
    """Where a method from outside comes from; part of the key of all that it makes.

    Attributes:
        name: of the file, or of the installed package.
        version: of the package; empty for a file.
        sha256: of the file, or of all Python files of the package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(min_length=1, max_length=200)
    version: str = ""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def label(self) -> str:
        """For example ``noise.py 3f9a1c2`` or ``crumple-noise 0.2 3f9a1c2``."""
        return " ".join(filter(None, (self.name, self.version, self.sha256[:SHOWN])))
