"""The quantisation steps on offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from engine.catalog.entry import Entry, Params


class PtqParams(Params):
    """Parameters of post-training quantisation."""

    bits: int = Field(
        8,
        ge=2,
        le=8,
        title="weight bits",
        description="Bits of a weight code; symmetric, so b bits give 2^b - 1 levels.",
    )
    activation_bits: Literal["none", 8, 7, 6, 5, 4, 3, 2] = Field(
        "none",
        title="activation bits",
        description="Bits of what leaves a ReLU, or none to leave it in fp32. What a layer reads "
        "from anything else (the image, a sum, a linear bottleneck) stays in fp32.",
    )
    skip_first_last: bool = Field(
        False,
        title="skip first and last",
        description="Leave the first and the last layer in fp32.",
    )

    def needs_images(self) -> bool:
        return self.activation_bits != "none"

    def left_out(self, layers: Sequence[str]) -> set[str]:
        return {*layers[:1], *layers[-1:]} if self.skip_first_last else set()

    def label(self, title: str) -> str:
        activations = "" if self.activation_bits == "none" else f"a{self.activation_bits}"
        skipped = " inner" if self.skip_first_last else ""
        return f"{title} w{self.bits}{activations}{skipped}"


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="ptq",
            title="Post-training quantisation",
            family="quantisation",
            summary="Rounds weights per output channel, and optionally activations, to few levels.",
            paper="Jacob 2018, arXiv 1712.05877; Nagel 2021, arXiv 2106.08295",
            formula="w ← s clip(round(w / s), ±(2ᵇ⁻¹ - 1)) with the scale s per output channel of "
            "least squared error",
            params=PtqParams,
            limits="Below 4 bits accuracy usually collapses without training.",
        ),
    )
