"""The defences on offer that are steps of a recipe, beside adversarial training."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from engine.catalog.entry import Entry, Params

FAMILY = "defence"
"""Of steps that defend: a naive attack is shown beside the one that adapts to them."""


class FrontParams(Params):
    """Parameters of a transformation of images in front of the network."""

    in_front: ClassVar[bool] = True

    def needs_images(self) -> bool:
        return False


class BitDepthParams(FrontParams):
    """Parameters of the reduction of bit depth."""

    depth: int = Field(
        3,
        ge=1,
        le=8,
        title="depth",
        description="Bits of a pixel, so that 2^depth levels are left. Published: 1 to 5 for grey "
        "pictures, 3 to 5 for colour.",
        json_schema_extra={"unit": "bits"},
    )

    def label(self, title: str) -> str:
        return f"{title} {self.depth}"


class JpegParams(FrontParams):
    """Parameters of JPEG compression."""

    quality: int = Field(
        75,
        ge=1,
        le=100,
        title="quality",
        description="Of libjpeg, 100 loses least. Published: 75, and 50 to 90.",
    )

    def label(self, title: str) -> str:
        return f"{title} {self.quality}"


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="bit-depth",
            title="Bit depth reduction",
            family=FAMILY,
            summary="Rounds every pixel to few levels before the network sees it.",
            paper="Xu 2018, arXiv 1704.01155; Guo 2018, arXiv 1711.00117",
            formula="x ← round(x (2ᵇ - 1)) / (2ᵇ - 1) for a depth of b bits; searched with ∂x = 1",
            params=BitDepthParams,
            limits="Hides the gradient and does little else: an attack that adapts finds nearly "
            "what it finds without it.",
        ),
        Entry(
            id="jpeg",
            title="JPEG compression",
            family=FAMILY,
            summary="Compresses every image to JPEG and back before the network sees it.",
            paper="Dziugaite 2016, arXiv 1608.00853; Guo 2018, arXiv 1711.00117",
            formula="x ← decode(encode(round(255 x), quality)) / 255; searched with ∂x = 1",
            params=JpegParams,
            limits="Hides the gradient and does little else: an attack that adapts finds nearly "
            "what it finds without it.",
        ),
    )
