"""The attacks of torchattacks 3.5.1, behind our guards."""

from __future__ import annotations

from pydantic import Field

from engine.catalog.attacks_ball import EpsParams
from engine.catalog.entry import Entry, Number, Section, format_number, section


class TorchattacksPgdParams(EpsParams):
    """Parameters of ``torchattacks.PGD``, under that library's names."""

    alpha: Number = Field(
        2 / 255, gt=0, le=1, title="alpha", description="Length of a step (library name)."
    )
    steps: int = Field(10, ge=1, le=10_000, title="steps", description="Gradient steps.")
    random_start: bool = Field(
        True, title="random start", description="Start at a uniform point of the ball."
    )

    def label(self, title: str) -> str:
        return f"{title}-{self.steps} {format_number(self.eps)}"


def entries() -> Section:
    """The attacks of this family, by id."""
    return section(
        Entry(
            id="torchattacks.PGD",
            title="PGD (torchattacks)",
            family="torchattacks",
            summary="The PGD of torchattacks 3.5.1 behind our guards; returns the last iterate.",
            paper="Kim 2020, arXiv 2010.01950",
            params=TorchattacksPgdParams,
            norm="Linf",
        ),
    )
