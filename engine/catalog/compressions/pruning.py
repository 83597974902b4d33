"""The pruning steps on offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.catalog.compressions.shared_fields import BatchParams, Recipe, like
from engine.catalog.entry import Conditions, Entry, Number, Params, Structure
from engine.catalog.training import OF_RECIPE, Schedule


class _Magnitude(Params):
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
    schedule: Literal["one-shot", "gradual"] = Field(
        "one-shot",
        title="schedule",
        description="One shot: at once, without training. Gradual: a little more before each of "
        "the first epochs of a training, fast at first (Zhu & Gupta 2017). All parameters below "
        "are of the training.",
    )
    training: Recipe = Field(
        "standard",
        title="training",
        description="Recipe of the training; eps and attack steps are of pgd-at and trades, beta "
        "of trades.",
    )
    epochs: int = like("epochs", 10)
    ramp_epochs: int = Field(
        5,
        ge=1,
        le=10_000,
        title="ramp epochs",
        description="The epochs before which the sparsity rises; the last of them begins with "
        "the full one.",
    )
    lr: Number = like("lr", 0.01)
    lr_schedule: Schedule = like("schedule", "cosine")
    beta: Number = like("beta")


class MagnitudeParams(BatchParams, _Magnitude):
    """Parameters of magnitude pruning; those of the training are of ``gradual`` alone."""

    only_with: ClassVar[Conditions] = {
        **dict.fromkeys(BatchParams.model_fields, ("schedule", ("gradual",))),
        **dict.fromkeys(
            ("training", "epochs", "ramp_epochs", "lr", "lr_schedule"), ("schedule", ("gradual",))
        ),
        **OF_RECIPE,
    }

    @model_validator(mode="after")
    def _arrives(self) -> Self:
        if self.schedule == "gradual" and self.ramp_epochs > self.epochs:
            raise ValueError(
                f"takes no more ramp_epochs than epochs = {self.epochs}, not {self.ramp_epochs}"
            )
        return self

    def needs_images(self) -> bool:
        return self.schedule == "gradual"

    def pruned_structure(self) -> Structure:
        return "unstructured"

    def trains_robustly(self) -> bool:
        return self.schedule == "gradual" and self.is_robust(self.training)

    def left_in_each_layer(self) -> float | None:
        return 1 - self.sparsity if self.scope == "layer" else None

    def removes_nothing_after(self, before: Params) -> bool:
        return (
            isinstance(before, MagnitudeParams)
            and before.scope == self.scope
            and before.sparsity >= self.sparsity
        )

    def label(self, title: str) -> str:
        if self.schedule == "one-shot":
            return self.brief(title)
        shown = ("sparsity", "scope", "schedule", "training", "epochs")
        return self.brief(title) + self.changed(*shown)

    def brief(self, title: str) -> str:
        scope = " per layer" if self.scope == "layer" else ""
        short = f"{title} {self.sparsity * 100:.4g}%{scope}"
        gradual = f" gradual {self.training} {self.epochs}ep"
        return short if self.schedule == "one-shot" else short + gradual


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

    def needs_images(self) -> bool:
        return False

    def pruned_structure(self) -> Structure:
        return "structured"

    def left_out(self, layers: Sequence[str]) -> set[str]:
        return set(layers[-1:])  # gives the logits

    def removes_nothing_after(self, before: Params) -> bool:
        return (
            isinstance(before, FilterParams)
            and (before.criterion, before.scope) == (self.criterion, self.scope)
            and before.ratio >= self.ratio
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

    def needs_images(self) -> bool:
        return False

    def pruned_structure(self) -> Structure:
        return "semi-structured"

    def left_in_each_layer(self) -> float | None:
        return self.n / self.m if self.indivisible == "refuse" else None

    def removes_nothing_after(self, before: Params) -> bool:
        if not isinstance(before, NmSparsityParams):
            return False
        # At most n of m means at most k n of k m. A layer that divides by k m divides by m.
        times, rest = divmod(self.m, before.m)
        return rest == 0 and times * before.n <= self.n

    def requested(self) -> dict[str, float]:
        return {"sparsity": 1 - self.n / self.m}

    def label(self, title: str) -> str:
        rest = " rest dense" if self.indivisible == "dense" else ""
        return f"{title} {self.n}:{self.m}{rest}"


class ChannelParams(Params):
    """Parameters of channel pruning."""

    cuts: ClassVar[bool] = True

    target: Literal["macs", "parameters"] = Field(
        "macs",
        title="target",
        description="What the network must come down to: its work, or its parameters.",
    )
    keep: Number = Field(
        0.5,
        gt=0,
        lt=1,
        title="keep",
        description="Share of the target that stays, within five points; the shares of channels "
        "follow from it.",
    )
    criterion: Literal["l2", "l1"] = Field(
        "l2",
        title="criterion",
        description="Norm by which the weakest channels are chosen, over all weights that they "
        "touch.",
    )
    round_to: int = Field(
        1,
        ge=1,
        le=256,
        title="round to",
        description="Channels of a layer stay a multiple of it; 8 suits many processors.",
    )

    def needs_images(self) -> bool:
        return False

    def pruned_structure(self) -> Structure:
        return "structured"

    def left_out(self, layers: Sequence[str]) -> set[str]:
        return set(layers[-1:])  # gives the logits

    def label(self, title: str) -> str:
        target = "MACs" if self.target == "macs" else "parameters"
        criterion = " L1" if self.criterion == "l1" else ""
        rounded = f" round {self.round_to}" if self.round_to > 1 else ""
        return f"{title} {self.keep * 100:.4g}% {target}{criterion}{rounded}"


def entries() -> tuple[Entry, ...]:
    """What this module offers."""
    return (
        Entry(
            id="magnitude",
            title="Magnitude pruning",
            family="pruning",
            summary="Sets the smallest weights to zero: at once without training, or gradually "
            "while training.",
            paper="Han 2015, arXiv 1506.02626; Zhu 2017, arXiv 1710.01878",
            formula="w ← 0 for the round(sparsity n) weights of smallest |w|; gradual: sparsity_i "
            "= sparsity (1 - (1 - i / ramp_epochs)³) before epoch i",
            params=MagnitudeParams,
            limits="Masks save storage, not time: dense kernels multiply the zeros too.",
        ),
        Entry(
            id="filter",
            title="Filter pruning",
            family="pruning",
            summary="Sets the filters of smallest norm to zero as a whole, without training.",
            paper="Li 2017, arXiv 1608.08710",
            formula="W_o ← 0 for the round(ratio n) filters o of smallest ‖W_o‖₁ or ‖W_o‖₂",
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
            formula="of every M consecutive inputs the N largest |w| stay, the others are 0",
            params=NmSparsityParams,
            limits="The inputs of a layer must be a multiple of M. Masks save storage, not time: "
            "the kernels used here multiply the zeros too.",
        ),
        Entry(
            id="channel",
            title="Channel pruning",
            family="pruning",
            summary="Removes the weakest channels, so that the network really is smaller and "
            "faster.",
            paper="Fang 2023, arXiv 2301.12900",
            formula="channels that go together are ranked by their mean ‖W‖; the share removed is "
            "searched until MACs or parameters are keep of the base model's",
            params=ChannelParams,
            limits="Comes before masks and quantisers; the classes stay. Without fine-tuning "
            "accuracy usually collapses.",
        ),
    )
