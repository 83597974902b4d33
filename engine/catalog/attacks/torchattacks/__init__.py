"""The attacks of torchattacks 3.5.1, behind our guards, under the library's own names.

Two classes of the library are no attacks on images and are left out: ``MultiAttack`` runs other
attacks in a row, which a study does by listing them, and ``LGV`` trains surrogate models on a
training set, which an attack here never sees. What the library lets its caller choose but we
own ourselves is no parameter: ``seed``, ``n_classes`` and ``verbose``.
"""

from __future__ import annotations

from pydantic import Field

from engine.catalog.attacks.torchattacks import auto, gradient, minimum, transfer
from engine.catalog.attacks.torchattacks.base import library_entry
from engine.catalog.entry import NoParams, Number, Params, Section, format_number, section

_PARTS = (
    gradient,
    transfer,
    auto,
    minimum,
)


class NoiseParams(Params):
    """Parameters of ``GN``."""

    std: Number = Field(
        0.1, ge=0, le=100, title="std", description="Deviation of the noise, pixels in [0, 1]."
    )

    def label(self, title: str) -> str:
        return f"{title} {format_number(self.std)}"


def entries() -> Section:
    """All attacks of the library, by id."""
    kim = "Kim 2020, arXiv 2010.01950"
    return section(
        *(entry for part in _PARTS for entry in part.entries().values()),
        library_entry(
            "GN",
            "reference, no ball",
            "Gaussian noise: no attack, for comparison.",
            kim,
            NoiseParams,
            "",
            traits=("seeded",),
        ),
        library_entry(
            "VANILA",
            "reference, no ball",
            "Returns the clean image, for comparison.",
            kim,
            NoParams,
            "",
            traits=(),
        ),
    )
