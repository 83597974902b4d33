"""Quantisation-aware training, as it is on offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.catalog.compressions.training import RetrainParams
from engine.catalog.entry import Conditions, Entry, Number, Params, setting

_BITS = {"lsq": (2, 8), "dorefa": (1, 8), "binary": (1, 1)}
"""The fewest and the most bits of a weight, by method."""


class _Quantised(Params):
    method: Literal["lsq", "dorefa", "binary"] = Field(
        "lsq",
        title="method",
        description="LSQ: steps between levels are trained. DoReFa: tanh of the weights on an "
        "even grid over [-1, 1], or with 1 bit their signs times their mean size; activations on "
        "a grid over [0, 1]. Binary: the signs of the weights, as BinaryConnect; with 1-bit "
        "activations BinaryNet.",
    )
    bits: int = Field(
        4,
        ge=1,
        le=8,
        title="weight bits",
        description="Bits of a weight code: 1 with binary, 2 to 8 with LSQ, 1 to 8 with DoReFa; "
        "2^b levels.",
    )
    activation_bits: Literal["none", 8, 7, 6, 5, 4, 3, 2, 1] = Field(
        "none",
        title="activation bits",
        description="Bits of what leaves a ReLU; none leaves it in fp32, but DoReFa still clips "
        "it to [0, 1]. With binary none or 1: its sign in place of the ReLU.",
    )
    first_last: Literal["8 bit", "fp32", "same"] = Field(
        "8 bit",
        title="first and last layer",
        description="Their weights: 8 bits by the same method (by LSQ with binary), fp32, or as "
        "all others.",
    )
    steps: Literal["layer", "channel"] = Field(
        "layer",
        title="LSQ steps",
        description="One trained step for the weights of a layer, or one for each output channel.",
    )
    division: Literal["as published", "as coded"] = Field(
        "as published",
        title="DoReFa division",
        description="tanh of the weights divided by its largest size, as in the paper, or not, "
        "as in the code of Bernhard 2019.",
    )
    bound: Literal["1", "glorot"] = Field(
        "1",
        title="binary bound",
        description="H: trained weights stay within [-H, H], and the levels are -H and H; 1, or "
        "sqrt(1.5 / (fan in + fan out)).",
    )
    lr_factor: Literal["none", "glorot"] = Field(
        "none",
        title="binary rate",
        description="Of each layer's learning rate: none, or the factor "
        "1 / sqrt(1.5 / (fan in + fan out)).",
    )
    rescale: Literal["linear", "all", "none"] = Field(
        "linear",
        title="rescaled layers",
        description="With binary and DoReFa, levels are of size 1, which a BatchNorm behind a "
        "layer undoes. Rescaled layers get one fixed factor that keeps their mean size: the "
        "linear ones, which have no BatchNorm behind them, all, or none, as published. With 1 bit "
        "DoReFa keeps the mean size by itself.",
    )
    freeze_bn: Number = Field(
        0.2,
        ge=0,
        le=1,
        title="freeze BatchNorm",
        description="Share of the epochs, the last ones, in which the statistics of BatchNorm "
        "stay as they are.",
    )


class QatParams(RetrainParams, _Quantised):
    """Parameters of quantisation-aware training: the quantisers, and a training recipe."""

    only_with: ClassVar[Conditions] = {
        "steps": ("method", ("lsq", "binary")),  # first and last layer of binary may be LSQ
        "division": ("method", ("dorefa",)),
        "bound": ("method", ("binary",)),
        "lr_factor": ("method", ("binary",)),
        "rescale": ("method", ("dorefa", "binary")),
    }

    @model_validator(mode="after")
    def _possible(self) -> Self:
        least, most = _BITS[self.method]
        if not least <= self.bits <= most:
            allowed = f"{least} to {most} bits" if most > least else f"{least} bit"
            raise ValueError(f"method {self.method} takes {allowed}, not bits = {self.bits}")
        if self.method == "binary" and self.activation_bits not in ("none", 1):
            raise ValueError(
                "method binary takes activation_bits none or 1, not "
                f"activation_bits = {self.activation_bits}"
            )
        return self

    def left_out(self, layers: Sequence[str]) -> set[str]:
        return {*layers[:1], *layers[-1:]} if self.first_last != "same" else set()

    def has_zero_level(self) -> bool:
        return self.method == "lsq"

    def label(self, title: str) -> str:
        return self._label(title, brief=False)

    def brief(self, title: str) -> str:
        return self._label(title, brief=True)

    def _label(self, title: str, *, brief: bool) -> str:
        activations = "" if self.activation_bits == "none" else f"a{self.activation_bits}"
        words = [title, self.method, f"w{self.bits}{activations}"]
        shown = ("method", "bits", "activation_bits")
        for name, field in _Quantised.model_fields.items():
            value = getattr(self, name)
            if name not in shown and value != field.default and not brief:
                words.append(setting(name, value))
        if self.training_label() != type(self).model_validate({}).training_label():
            words.append(self.training_label(brief=brief))
        return " ".join(words)


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="qat",
            title="Quantisation-aware training",
            family="quantisation",
            summary="Trains with weights, and optionally activations, on few levels: LSQ, DoReFa "
            "or binary.",
            paper="Esser 2020, arXiv 1902.08153; Zhou 2016, arXiv 1606.06160; Courbariaux 2015, "
            "arXiv 1511.00363; 2016, arXiv 1602.02830",
            formula="LSQ: round(clip(w / s)) s with s trained; DoReFa: 2 round(n v) / n - 1, v = "
            "tanh w / (2 max|tanh w|) + ½, n = 2ᵇ - 1, with 1 bit mean|w| sign w; binary: ± a "
            "fixed scale; gradients pass the rounding straight through",
            params=QatParams,
            limits="Needs a dataset with training images. Binary and DoReFa have no level 0, so "
            "pruning cannot come before them. Levels and gradients are those of the quantised "
            "network, computed in fp32.",
        ),
    )
