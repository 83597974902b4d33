"""ONNX models looked over before anything computes with them; free of torch.

A model is a message of protocol buffers and holds no code. What it can do is name files beside it,
declare more than it holds, and ask for operators of other programs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError, Message

from engine.errors import ModelError
from engine.safe_files.way_out import BY_ORIGIN

MOST_NODES = 100_000
_DEEPEST = 8
"""Graphs within graphs; exports of image classifiers have none."""
_STANDARD = ("", "ai.onnx")
_QUANTISED = {
    *("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"),
    *("ConvInteger", "MatMulInteger"),
}
_ENDLESS = {"Loop", "Scan", "SequenceMap"}
"""They repeat as often as a number in the file says."""
_BITS = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64"), 64),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL"), 8),
}
"""Of the types of tensors that are read."""
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def look_over(content: bytes, name: str) -> onnx.ModelProto:
    """Parse a model and refuse what a classifier does not need.

    Args:
        content: of the whole file.
        name: of the file, for messages.

    Raises:
        ModelError: it is damaged, names other files, declares more than it holds, or asks for
            operators that are not converted. Nothing it names was opened.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(
            f"The ONNX file {name} is damaged, truncated or nested too deeply.",
            "Copy or download it again.",
        ) from None
    if not model.graph.node:
        raise ModelError(
            f"The ONNX file {name} holds no network: its graph has no nodes.", BY_ORIGIN
        )
    counts = _Counts(name)
    for message in _messages(model, 0, name):
        if isinstance(message, onnx.NodeProto):
            counts.node()
        elif isinstance(message, onnx.TensorProto):
            _check_tensor(message, name)
    _check_operators(model, name)
    return model


class _Counts:
    def __init__(self, name: str) -> None:
        self._name, self._nodes = name, 0

    def node(self) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise ModelError(
                f"The ONNX file {self._name} is refused: it has more than {MOST_NODES:,} nodes.",
                BY_ORIGIN,
            )


def _messages(message: Message, graphs: int, name: str) -> Iterator[Message]:
    """A message and all within it."""
    graphs += isinstance(message, onnx.GraphProto)
    if graphs > _DEEPEST:
        raise ModelError(
            f"The ONNX file {name} is refused: its graphs are nested more than {_DEEPEST} deep.",
            BY_ORIGIN,
        )
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if isinstance(value, Message) else value:
                yield from _messages(one, graphs, name)


def _check_tensor(tensor: onnx.TensorProto, name: str) -> None:
    """Numbers within the file, as many as are declared."""
    called = tensor.name[:80]
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        where = next((one.value for one in tensor.external_data if one.key == "location"), "")
        raise ModelError(
            f"The ONNX file {name} keeps its weights in another file ({where[:80]!r} for "
            f"{called!r}), which is not opened.",
            "Where you trust it, save it whole, with that file beside it: pip install onnx, then "
            f"in Python onnx.save(onnx.load({name!r}), {_whole(name)!r}), and import "
            f"{_whole(name)}.",
        )
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind not in _BITS:
        raise ModelError(
            f"The ONNX file {name} holds {called!r} as {kind} instead of plain numbers.", BY_ORIGIN
        )
    declared = math.prod(tensor.dims)
    held = max(len(getattr(tensor, field)) for field in _TYPED)
    if tensor.HasField("raw_data"):
        held = 8 * len(tensor.raw_data) // _BITS[kind]
    if min(tensor.dims, default=1) < 0 or declared != held:
        size = "x".join(map(str, tensor.dims))
        raise ModelError(
            f"The ONNX file {name} is damaged: {called!r} of the size {size[:80]} holds "
            f"{held:,} numbers.",
            "Copy or download it again.",
        )


def _whole(name: str) -> str:
    return f"{name.removesuffix('.onnx')}-whole.onnx"


def _check_operators(model: onnx.ModelProto, name: str) -> None:
    """Operators of the standard alone, or functions of them that the model brings."""
    brought = {(one.domain, one.name) for one in model.functions}
    found = {
        (node.domain, node.op_type)
        for node in _messages(model, 0, name)
        if isinstance(node, onnx.NodeProto)
    }
    for domain, kind in sorted(found - brought):
        if domain not in _STANDARD or not onnx.defs.has(kind):
            said = f"{domain}.{kind}" if domain not in _STANDARD else kind
            raise ModelError(
                f"The ONNX file {name} asks for the operator {said[:80]!r}, which is none of the "
                "ONNX standard and is not converted.",
                BY_ORIGIN,
            )
    endless = sorted(kind for _, kind in found if kind in _ENDLESS)
    if endless:
        raise ModelError(
            f"The ONNX file {name} repeats a part ({', '.join(endless)}), which is not converted.",
            BY_ORIGIN,
        )
    quantised = sorted(kind for _, kind in found if kind in _QUANTISED)
    if quantised:
        raise ModelError(
            f"The ONNX file {name} computes with integers ({', '.join(quantised)}), whose "
            "rounding has no gradient to attack by.",
            "Crumple quantises models itself: import the network before it was quantised.",
        )
