"""The pruning steps on offer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.catalog.entry import Entry, Number, Params


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

    def requested(self) -> dict[str, float]:
        return {"sparsity": 1 - self.n / self.m}

    def label(self, title: str) -> str:
        rest = " rest dense" if self.indivisible == "dense" else ""
        return f"{title} {self.n}:{self.m}{rest}"


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
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
    )
