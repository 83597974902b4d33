"""Networks as lists of layers and what each of them reads: what no name of an architecture tells.

A checkpoint of a network that is like no named architecture, but whose layers can be read from
names and shapes, is kept beside such a list. Torch-free; ``engine.models.wired`` builds it.
"""

from __future__ import annotations

import hashlib
import keyword
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from engine.catalog.strict import Strict

IMAGES = "images"
"""What the first layer reads."""

_NAME = r"[A-Za-z_0-9]{1,80}(\.[A-Za-z_0-9]{1,80}){0,12}"
_MOST_NODES = 6000
_LARGEST = 1 << 20

Options = dict[str, bool | int | float | tuple[int, int]]

Op = Literal[
    "convolution", "linear", "norm", "norm1d", "group-norm",
    "relu", "relu6", "leaky-relu", "elu", "gelu", "silu", "hard-swish", "sigmoid", "hard-sigmoid",
    "tanh", "softplus",
    "max-pool", "average-pool", "mean", "adaptive-mean", "largest", "pad-channels",
    "every-second", "flatten", "as-maps", "dropout", "shuffle", "first-half", "second-half", "add",
    "multiply", "concatenate",
]  # fmt: skip
"""What a node may do: layers of torch.nn, and what residual and dense networks do between them."""


class Node(Strict):
    """One operation.

    Attributes:
        name: of its module, dotted as in the state dict; operations without tensors have one too.
        op: what it does.
        after: the nodes whose outputs it reads, in this order.
        options: arguments of the layer, such as ``kernel`` and ``stride``; what is left out has
            the default of ``engine.models.wired``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = Field(pattern=f"^{_NAME}$")
    op: Op
    after: tuple[str, ...] = Field(min_length=1, max_length=64)
    options: Options = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _attributes(cls, name: str) -> str:
        # They become attributes in code that torch.fx writes.
        if any(keyword.iskeyword(one) or one.startswith("__") for one in name.split(".")):
            raise ValueError("holds a word of Python")
        return name

    @field_validator("options")
    @classmethod
    def _sizes(cls, options: Options) -> Options:
        pairs = (one if isinstance(one, tuple) else (one,) for one in options.values())
        if not all(0 <= one <= _LARGEST for pair in pairs for one in pair):
            raise ValueError(f"must be from 0 to {_LARGEST}")
        return options


class Wiring(Strict):
    """A whole network; the last node gives the logits.

    Attributes:
        nodes: in an order in which each reads only what stands before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    nodes: tuple[Node, ...] = Field(min_length=1, max_length=_MOST_NODES, repr=False)

    @model_validator(mode="after")
    def _ordered(self) -> Wiring:
        known = {IMAGES}
        for node in self.nodes:
            if not known.issuperset(node.after):
                raise ValueError(f"{node.name} reads what does not stand before it")
            if node.name in known:
                raise ValueError(f"there are two nodes {node.name}")
            known.add(node.name)
        return self

    @property
    def key(self) -> str:
        """Tells it from every other wiring of the same tensors."""
        text = self.model_dump_json(exclude_defaults=True)
        return hashlib.sha256(text.encode()).hexdigest()
