"""Which family of networks a state dict is of, and how it is wired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from engine.catalog.models.wiring import Node, Wiring
from engine.importing.families.dense import read_dense
from engine.importing.families.inception import read_inception
from engine.importing.families.layers import Layer, layers_of
from engine.importing.families.mobile import read_mobile
from engine.importing.families.nine import read_nine
from engine.importing.families.repvgg import read_repvgg
from engine.importing.families.residual import read_residual
from engine.importing.families.shuffle import read_shuffle
from engine.importing.families.vgg import read_vgg
from engine.importing.families.writer import Unfit
from engine.importing.fit import Fit
from engine.importing.read import State
from engine.models.architectures.layouts import OWN


class Network(Protocol):
    """A network of some family, as read from its tensors."""

    @property
    def label(self) -> str:
        """In words."""

    @property
    def stem(self) -> Layer:
        """What reads the images."""

    @property
    def head(self) -> Layer:
        """What gives the logits."""

    def wirings(self) -> list[tuple[str, Wiring]]:
        """The usual one, then those that differ in what tensors do not tell, and in which way.

        Raises:
            Unfit: the layers do not follow each other.
        """


READERS: tuple[Callable[[list[Layer]], Network], ...] = (
    read_nine,
    read_repvgg,
    read_mobile,
    read_shuffle,
    read_inception,
    read_dense,
    read_vgg,
    read_residual,
)


def fit_families(state: State) -> tuple[list[Fit], str]:
    """The networks that a state dict can be, the usual one first; and what spoke against others.

    Every tensor has its place in each of them, or there is none.
    """
    layers = layers_of(state)
    reason = ""
    for read in READERS if layers else ():
        try:
            return _fits(read(list(layers or ())), state), ""
        except Unfit as error:
            reason = reason or str(error)
    return [], reason


_GROUPS = (32, 16, 8, 4, 2, 1)
"""Of a group norm (Wu 2018, arXiv 1803.08494), the paper's first."""


def _grouped(wiring: Wiring) -> Iterator[tuple[str, Wiring]]:
    """A wiring with each usual number of groups in its norms; itself if it has no such norms.

    No tensor tells the groups. Those of one channel each are instance norms.
    """
    channels = {_channels(node) for node in wiring.nodes if node.op == "group-norm"}
    if not channels:
        yield "", wiring
        return
    for groups in (one for one in _GROUPS if not any(width % one for width in channels)):
        words = f"norms of {groups} groups" if groups > 1 else "norms of whole images"
        if channels != {groups}:
            yield words, _with_groups(wiring, groups)
    yield "norms of each channel", _with_groups(wiring, None)


def _with_groups(wiring: Wiring, groups: int | None) -> Wiring:
    """With so many groups in each norm; None for one of each channel."""

    def grouped(node: Node) -> Node:
        if node.op != "group-norm":
            return node
        options = {**node.options, "groups": groups or _channels(node)}
        return node.model_copy(update={"options": options})

    return Wiring(nodes=tuple(map(grouped, wiring.nodes)))


def _channels(norm: Node) -> int:
    width = norm.options["channels"]
    assert isinstance(width, int)
    return width


def _fits(network: Network, state: State) -> list[Fit]:
    return [
        Fit(
            architecture=", ".join(one for one in (network.label, words, groups) if one),
            layout=OWN,
            classes=network.head.size[0],
            channels=network.stem.size[1],
            state=dict(state),
            missing=(),
            extra=(),
            wrong=(),
            wiring=wiring,
        )
        for words, written in network.wirings()
        for groups, wiring in _grouped(written)
    ]
