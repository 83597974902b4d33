"""Names of tensors in published checkpoints, and what they are called here.

One small map per family, written out both ways: what is renamed, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """How the tensors of an architecture are named elsewhere.

    Attributes:
        id: a short name for reports.
        read: pattern and replacement, from the published name to ours; applied in order.
        write: the way back.
    """

    id: str
    read: Rules = ()
    write: Rules = ()

    def ours(self, name: str) -> str:
        """Our name of a published tensor."""
        return _apply(self.read, name)

    def theirs(self, name: str) -> str:
        """The published name of our tensor."""
        return _apply(self.write, name)


def _apply(rules: Rules, name: str) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


OWN = Layout("own names")

KUANGLIU = Layout("kuangliu")
"""ResNet-18 and MobileNetV2 as in kuangliu/pytorch-cifar: the names are ours."""

TRADES_WRN = Layout(
    "TRADES wide ResNet",
    read=(
        (r"^(block[123])\.layer\.(\d+)\.convShortcut\.", r"\1.\2.shortcut."),
        (r"^(block[123])\.layer\.(\d+)\.", r"\1.\2."),
    ),
    write=(
        (r"^(block[123])\.(\d+)\.shortcut\.", r"\1.layer.\2.convShortcut."),
        (r"^(block[123])\.(\d+)\.", r"\1.layer.\2."),
    ),
)

PREACT = Layout(
    "pre-activation ResNet",
    read=((r"^(layer[1-4]\.\d+)\.shortcut\.0\.", r"\1.shortcut."),),
    write=((r"^(layer[1-4]\.\d+)\.shortcut\.(?!0\.)", r"\1.shortcut.0."),),
)

DEEPMIND = Layout("DeepMind wide ResNet")
HYDRA_VGG = Layout("Hydra VGG")
AKAMASTER = Layout("akamaster")


def _renaming(**names: str) -> Layout:
    """Of a narrow ResNet with other names, ours first, for its parts."""
    shown = ", ".join(names.values())
    edges = {"conv1": ("^", "."), "bn1": ("^", "."), "linear": ("^", "."), "shortcut": (r"\.", ".")}
    read, write = [], []
    for ours, theirs in names.items():
        before, after = edges[ours]
        lead = "." if before == r"\." else ""
        read.append((rf"{before}{theirs}\.", f"{lead}{ours}{after}"))
        write.append((rf"{before}{ours}\.", f"{lead}{theirs}{after}"))
    return Layout(f"narrow ResNet with {shown}", tuple(read), tuple(write))


NARROW = (
    AKAMASTER,
    *(
        _renaming(**stem, **shortcut, **head)
        for stem in ({}, {"conv1": "conv", "bn1": "bn"})
        for shortcut in ({}, {"shortcut": "downsample"})
        for head in ({}, {"linear": "fc"})
        if stem or shortcut or head
    ),
)
"""Programs differ in what they call the stem, the shortcuts and the head."""

_BY_ARCHITECTURE = (
    (r"wrn-\d+-\d+", (TRADES_WRN, OWN)),
    (r"swish-wrn-\d+-\d+", (DEEPMIND,)),
    (r"preact-resnet-18", (PREACT, OWN)),
    (r"resnet-18(-w\d+)?|mobilenet-v2", (KUANGLIU,)),
    (r"resnet-[\d.]+(-.*)?", NARROW),
    (r"vgg-16-bn", (HYDRA_VGG,)),
)


def layouts_of(architecture: str) -> tuple[Layout, ...]:
    """The layouts a checkpoint of an architecture may have, the published one first."""
    for pattern, found in _BY_ARCHITECTURE:
        if re.fullmatch(pattern, architecture):
            return found
    return (OWN,)


def best_layout(architecture: str, names: Iterable[str], expected: Iterable[str]) -> Layout:
    """The layout under which most names are expected ones."""
    wanted, given = set(expected), list(names)
    return max(
        layouts_of(architecture), key=lambda one: sum(one.ours(name) in wanted for name in given)
    )
