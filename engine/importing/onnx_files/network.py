"""A folded ONNX graph as a module of torch, by onnx2pytorch."""

from __future__ import annotations

import warnings
from typing import Any

import onnx
from onnx import numpy_helper
from onnx2pytorch import ConvertModel
from torch import Tensor, nn

from engine.importing.onnx_files.fold import Folded
from engine.importing.onnx_files.known_values import KnownValues
from engine.importing.onnx_files.layout import Layout

_BUFFER = "_initializer_"
_VALUES = ("Pad", "Resize", "Upsample")
"""Operators that take floating-point numbers as settings."""


class Network(ConvertModel):  # type: ignore[misc]  # untyped
    """What onnx2pytorch makes of a graph, so that torch.export can follow it.

    Sizes and settings are tensors in ONNX. As plain ones their values are known while torch.export
    follows; as buffers they would not be.
    """

    def __init__(self, folded: Folded) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            super().__init__(folded.model)
        settings = _settings(folded.model)
        known_: dict[str, Any] = {}
        for one in folded.model.graph.initializer:
            buffer = f"{_BUFFER}{one.name}"
            if one.name in settings:
                known_[buffer] = self._buffers.pop(buffer)
        self.__dict__["known_"] = known_
        self.__dict__["rows"] = {f"{_BUFFER}{one}" for one in folded.repeated}
        self.__dict__["images"] = 1
        self.__dict__["asked"] = set()

    def __getattr__(self, name: str) -> Any:
        """Initialisers as the operators ask for them."""
        known = self.__dict__
        known.get("asked", set()).add(name)
        if name in known.get("known_", ()):
            return known["known_"][name]
        found = super().__getattr__(name)
        if name in known.get("rows", ()):
            return found.expand(known["images"], *found.shape[1:])
        return found

    def leave_out_unused(self) -> None:
        """After a forward: without the initialisers that layers hold as weights of their own."""
        for name in set(self._buffers) - self.__dict__["asked"]:
            del self._buffers[name]

    def forward(self, images: Tensor) -> Any:
        """Images as the graph takes them to what it gives."""
        self.__dict__["images"] = images.shape[0]
        with KnownValues():
            return super().forward(images)


def _settings(model: onnx.ModelProto) -> set[str]:
    integers = {
        one.name
        for one in model.graph.initializer
        if numpy_helper.to_array(one).dtype.kind in "iub"
    }
    values = {
        name for node in model.graph.node if node.op_type in _VALUES for name in node.input[1:]
    }
    return integers | (values & {one.name for one in model.graph.initializer})


class Taking(nn.Module):
    """A network that takes images in the layout of the file, given (N, C, H, W) in [0, 1]."""

    def __init__(self, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.network, self.layout = network, layout

    def leave_out_unused(self) -> None:
        """After a forward: without the initialisers that layers hold as weights of their own."""
        for name in set(self._buffers) - self.__dict__["asked"]:
            del self._buffers[name]

    def forward(self, images: Tensor) -> Any:
        """(N, C, H, W) images to what the network gives."""
        return self.network(self.layout.of(images))
