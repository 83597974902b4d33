"""The compression steps on offer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.catalog.entry import (
    Entry,
    NoParams,
    Number,
    Params,
    Section,
    format_number,
    section,
)
from engine.catalog.training import (
    RECIPES,
    SCHEDULES,
    Schedule,
    StandardParams,
    TradesParams,
)


class MagnitudeParams(Params):
    """Parameters of magnitude pruning."""

    sparsity: Number = Field(
        0.9,
        ge=0,
        lt=1,
        title="sparsity",
        description="Share of the weights of convolutions and linear layers set to zero.",
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        title="scope",
        description="Rank all weights together, or within each layer.",
    )

    def label(self, title: str) -> str:
        scope = " per layer" if self.scope == "layer" else ""
        return f"{title} {self.sparsity * 100:.4g}%{scope}"


class FilterParams(Params):
    """Parameters of filter pruning."""

    ratio: Number = Field(
        0.5,
        ge=0,
        lt=1,
        title="ratio",
        description="Share of the output filters of convolutions set to zero as a whole.",
    )
    criterion: Literal["l1", "l2"] = Field(
        "l1",
        title="criterion",
        description="Norm of a filter by which the smallest are chosen.",
    )
    scope: Literal["layer", "global"] = Field(
        "layer",
        title="scope",
        description="Rank within each layer, or all filters together.",
    )

    def label(self, title: str) -> str:
        criterion = " L2" if self.criterion == "l2" else ""
        scope = " global" if self.scope == "global" else ""
        return f"{title} {self.ratio * 100:.4g}%{criterion}{scope}"


class NmSparsityParams(Params):
    """Parameters of N:M sparsity."""

    n: int = Field(
        2,
        ge=1,
        le=63,
        title="N",
        description="Most weights that are not zero in each group.",
    )
    m: int = Field(
        4,
        ge=2,
        le=64,
        title="M",
        description="Length of a group: input channels at one output channel and kernel position.",
    )
    indivisible: Literal["refuse", "dense"] = Field(
        "refuse",
        title="indivisible",
        description="A layer whose inputs are no multiple of M: refuse the model, or leave that "
        "layer dense (nearly every network has one, its first).",
    )

    @model_validator(mode="after")
    def _sparse(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"takes an n below m = {self.m}, not {self.n}")
        return self

    def label(self, title: str) -> str:
        rest = " rest dense" if self.indivisible == "dense" else ""
        return f"{title} {self.n}:{self.m}{rest}"


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
        description="Bits of the activations, or none to leave them in fp32.",
    )
    skip_first_last: bool = Field(
        False,
        title="skip first and last",
        description="Leave the first and the last layer in fp32.",
    )

    def label(self, title: str) -> str:
        activations = "" if self.activation_bits == "none" else f"a{self.activation_bits}"
        skipped = " inner" if self.skip_first_last else ""
        return f"{title} w{self.bits}{activations}{skipped}"


class _Trained(Params):
    training: Literal["standard", "pgd-at", "trades"] = Field(
        "standard",
        title="training",
        description="Training recipe; eps and attack steps are of pgd-at and trades, beta of "
        "trades.",
    )


class FinetuneParams(TradesParams, _Trained):
    """Parameters of fine-tuning: a training recipe and its parameters, gentler by default."""

    epochs: int = Field(10, ge=1, le=10_000, title="epochs", description="Passes over the data.")
    batch_size: int = Field(64, ge=2, le=65_536, title="batch size", description="Images a step.")
    lr: Number = Field(0.01, gt=0, le=10, title="learning rate", description="Its largest value.")
    schedule: Schedule = Field("cosine", title="schedule", description=SCHEDULES)

    def recipe(self) -> StandardParams:
        """The parameters of the training recipe, without those that it does not know."""
        kind = RECIPES[self.training]
        return kind.model_validate({name: getattr(self, name) for name in kind.model_fields})

    def label(self, title: str) -> str:
        words = [title, self.training, f"{self.epochs}ep"]
        if self.training != "standard":
            words.append(format_number(self.eps))
        for name in self.recipe().model_dump(exclude={"epochs", "eps"}):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                shown = format_number(value) if isinstance(value, float) else value
                words.append(f"{name}={shown}")
        return " ".join(words)


def entries() -> Section:
    """All compression steps, by id."""
    return section(
        Entry(
            id="none",
            title="None (baseline)",
            family="baseline",
            summary="The base model as it is; always part of a study.",
            paper="",
            params=NoParams,
        ),
        Entry(
            id="magnitude",
            title="Magnitude pruning",
            family="pruning",
            summary="Sets the smallest weights to zero, without training afterwards.",
            paper="Han 2015, arXiv 1506.02626",
            params=MagnitudeParams,
            limits="Masks save storage, not time: dense kernels multiply the zeros too.",
        ),
        Entry(
            id="filter",
            title="Filter pruning",
            family="pruning",
            summary="Sets the filters of smallest norm to zero as a whole, without training.",
            paper="Li 2017, arXiv 1608.08710",
            params=FilterParams,
            limits="Linear layers stay, and the strongest filter of every convolution. Masks save "
            "storage, not time; behind BatchNorm an empty channel is a constant.",
        ),
        Entry(
            id="nm-sparsity",
            title="N:M sparsity",
            family="pruning",
            summary="Keeps the N largest of every M weights along the inputs, without training.",
            paper="Zhou 2021, arXiv 2102.04010; Mishra 2021, arXiv 2104.08378",
            params=NmSparsityParams,
            limits="The inputs of a layer must be a multiple of M. Masks save storage, not time: "
            "the kernels used here multiply the zeros too.",
        ),
        Entry(
            id="ptq",
            title="Post-training quantisation",
            family="quantisation",
            summary="Rounds weights per output channel, and optionally activations, to few levels.",
            paper="Jacob 2018, arXiv 1712.05877; Nagel 2021, arXiv 2106.08295",
            params=PtqParams,
            limits="Below 4 bits accuracy usually collapses without training.",
        ),
        Entry(
            id="finetune",
            title="Fine-tuning",
            family="training",
            summary="Trains what the steps before left; masks and quantisers keep acting.",
            paper="Han 2015, arXiv 1506.02626",
            params=FinetuneParams,
            limits="Needs a dataset with training images.",
        ),
    )
