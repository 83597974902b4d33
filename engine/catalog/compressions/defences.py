"""The defences on offer that are steps of a recipe, beside adversarial training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.catalog.entry import Defence, Entry, Number, Params, format_number, setting
from engine.catalog.models.architectures import SAME, StudentParams
from engine.catalog.training import AdversarialParams, StandardParams

FAMILY = "defence"
"""Of steps that defend: a naive attack is shown beside the one that adapts to them."""


def _changed(params: Params, *shown: str) -> str:
    """What differs from the defaults, for labels; without the parameters in ``shown``."""
    words = [""]
    for name, info in type(params).model_fields.items():
        value = getattr(params, name)
        if name not in shown and value != info.default:
            words.append(setting(name, value))
    return " ".join(words)


class FrontParams(Params):
    """Parameters of a transformation of images in front of the network."""

    in_front: ClassVar[bool] = True

    def needs_images(self) -> bool:
        return False

    def defends_by(self) -> Defence:
        return "input transformation"


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


class _HotTraining(StandardParams):
    epochs: int = Field(
        50, ge=1, le=10_000, title="epochs", description="Passes over the data in each training."
    )
    lr: Number = Field(0.05, gt=0, le=10, title="learning rate", description="Its largest value.")


class DefensiveDistillationParams(_HotTraining, StudentParams):
    """Parameters of defensive distillation."""

    temperature: Number = Field(
        20,
        gt=0,
        le=1000,
        title="temperature",
        description="Divides the logits in both trainings, and not in the network that ships. "
        "Published: 20 on MNIST, up to 100 on CIFAR-10.",
    )

    def training_epochs(self) -> int:
        return 2 * self.epochs

    def defends_by(self) -> Defence:
        return "defensive distillation"

    def recipe(self) -> StandardParams:
        """The parameters that both trainings share."""
        return StandardParams.model_validate(
            {name: getattr(self, name) for name in StandardParams.model_fields}
        )

    def label(self, title: str) -> str:
        return self.brief(title) + _changed(self, "student", "temperature", "epochs")

    def brief(self, title: str) -> str:
        student = "" if self.student == SAME else f" {self.student}"
        return f"{title}{student} T{format_number(self.temperature)} {self.epochs}ep"


class PurifyParams(AdversarialParams):
    """Parameters of purification by a denoiser."""

    in_front: ClassVar[bool] = True

    epochs: int = Field(30, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    eps: Number = Field(
        16 / 255,
        ge=0,
        le=1,
        title="eps",
        description="Radius of the largest Linf ball of examples to clean; each batch has one of "
        "its own up to it.",
    )
    attack_steps: int = Field(
        4, ge=1, le=1000, title="attack steps", description="PGD steps per batch."
    )
    width: int = Field(
        16,
        ge=1,
        le=256,
        title="width",
        description="Channels of the denoiser at its finest scale; coarser ones have 2 and 4 times "
        "as many.",
    )
    guide: Literal["logits", "pixels"] = Field(
        "logits",
        title="guide",
        description="What shall be as on the clean image: logits of the network, or pixels.",
    )
    lr: Number = Field(0.01, gt=0, le=10, title="learning rate", description="Its largest value.")
    weight_decay: Number = Field(0, ge=0, le=1, title="weight decay", description="L2 penalty.")
    optimizer: Literal["sgd", "adam"] = Field(
        "adam",
        title="optimiser",
        description="Adam takes neither momentum nor Nesterov.",
    )

    def trains_robustly(self) -> bool:
        return False  # the network stays; only what stands in front of it learns

    def defends_by(self) -> Defence:
        return "adversarial purification"

    def label(self, title: str) -> str:
        return self.brief(title) + _changed(self, "eps", "epochs")

    def brief(self, title: str) -> str:
        return f"{title} {format_number(self.eps)} {self.epochs}ep"


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
        Entry(
            id="defensive-distillation",
            title="Defensive distillation",
            family=FAMILY,
            summary="Trains a network at a high temperature, then a copy on its soft predictions.",
            paper="Papernot 2016, arXiv 1511.04508",
            formula="teacher: τ CE(f(x) / τ, y); network: τ CE(S(x) / τ, softmax(f(x) / τ)), "
            "which ships at τ = 1",
            params=DefensiveDistillationParams,
            limits="Makes logits large, so that the plain cross-entropy has no gradient, and does "
            "little else. The paper begins from fresh weights: name an architecture as student. "
            "Needs a dataset with training images.",
        ),
        Entry(
            id="purify",
            title="Adversarial purification",
            family=FAMILY,
            summary="Trains a denoiser in front of the network, which stays as it is.",
            paper="Liao 2018, arXiv 1712.02976; Meng 2017, arXiv 1705.09064",
            formula="min over D of |C(D(x')) - C(x)| over logits, or |D(x') - x| over pixels; x' "
            "is x or a PGD example of it against the fixed network C, in balls up to eps; D is a "
            "U-Net that adds to x",
            params=PurifyParams,
            limits="Holds against examples made without it; whoever attacks through the denoiser "
            "finds others. Adds parameters and work. Needs a dataset with training images.",
        ),
    )
