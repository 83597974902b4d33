"""The defences on offer that are steps of a recipe, beside adversarial training."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from engine.catalog.entry import Entry, Number, Params, format_number, setting

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


class MedianParams(FrontParams):
    """Parameters of the median filter."""

    size: int = Field(
        2,
        ge=2,
        le=15,
        title="size",
        description="Side of the square around a pixel. Published: 2 and 3.",
        json_schema_extra={"unit": "pixels"},
    )

    def label(self, title: str) -> str:
        return f"{title} {self.size}x{self.size}"


class TotalVariationParams(FrontParams):
    """Parameters of total variation minimisation."""

    weight: Number = Field(
        0.03,
        gt=0,
        le=10,
        title="weight",
        description="Of the total variation beside half of the squared error; published: 0.03.",
    )
    dropped: Number = Field(
        0.5,
        ge=0,
        lt=1,
        title="dropped",
        description="Share of the pixels that are dropped, drawn anew each time. With 0 nothing "
        "is random.",
    )

    def label(self, title: str) -> str:
        shown = f"{title} {format_number(self.weight)}"
        usual = type(self).model_fields["dropped"].default
        return shown if self.dropped == usual else f"{shown} {setting('dropped', self.dropped)}"

    def brief(self, title: str) -> str:
        return f"{title} {format_number(self.weight)}"


class RandomResizeParams(FrontParams):
    """Parameters of random resizing and padding."""

    growth: Number = Field(
        0.1,
        gt=0,
        le=1,
        title="growth",
        description="By how much of its side an image grows, d, with its border. Published: 32 of "
        "299 pixels.",
    )

    def label(self, title: str) -> str:
        return f"{title} {format_number(self.growth)}"


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
        Entry(
            id="median",
            title="Median filter",
            family=FAMILY,
            summary="Replaces every pixel by the median of a small square, per channel.",
            paper="Xu 2018, arXiv 1704.01155",
            formula="x ← median of the size x size pixels around; searched by its subgradient, "
            "that of the pixel which is the median",
            params=MedianParams,
            limits="The gradient is there, so attacks go through it.",
        ),
        Entry(
            id="total-variation",
            title="Total variation minimisation",
            family=FAMILY,
            summary="Drops pixels at random and puts the smoothest image through the rest.",
            paper="Guo 2018, arXiv 1711.00117; Chambolle 2004",
            formula="x ← argmin over z of ½ Σ (1 - m)(z - x)² + weight TV(z), m = 1 for dropped "
            "pixels; searched with ∂x = 1, as the mean over draws of m",
            params=TotalVariationParams,
            limits="Random: each verdict is one draw. Takes some hundred small operations for "
            "each forward. The paper writes the error without its square.",
        ),
        Entry(
            id="random-resize",
            title="Random resizing and padding",
            family=FAMILY,
            summary="Resizes every image to a random side and pads it at a random place.",
            paper="Xie 2018, arXiv 1711.01991",
            formula="x ← pad(resize(x, r)) to s + d, r uniform in s ... s + d - 1, "
            "d = max(1, round(growth s)); searched as the mean over draws",
            params=RandomResizeParams,
            limits="Random: each verdict is one draw. Needs a network that takes larger images, "
            "and costs its work on them.",
        ),
    )
