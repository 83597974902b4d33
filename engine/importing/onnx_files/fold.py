"""ONNX graphs with all shapes computed, for any number of images; free of torch.

Exports compute the sizes of reshapes from the image, or hold those of the example they were made
from. ONNX Runtime folds what it can compute beforehand; folded for two numbers of images, what
differs is what depends on their number. Of a graph for a fixed number, reshapes that keep the
first dimension are taken to keep the images apart. Neither is believed: the network is compared
with ONNX Runtime afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.shape_inference import infer_shapes

from engine.errors import ModelError
from engine.safe_files.way_out import BY_ORIGIN

Array = npt.NDArray[np.generic]

SIZES = (2, 3)
"""Numbers of images that a graph for any number is folded for."""

_FUSIONS = ["ConvBNFusion", "ConvMulFusion", "ConvAddFusion", "BatchNormalizationFusion",
            "MatMulBNFusion", "MatMulAddFusion"]  # fmt: skip
"""They would take BatchNorm away, which training of variants goes on with, and mix images with
tokens."""


@dataclass(frozen=True)
class Folded:
    """A graph for any number of images.

    Attributes:
        model: whose names are ``v0``, ``v1`` ...; no text of the file is left in it.
        repeated: initialisers that hold one row for each image; one is kept.
    """

    model: onnx.ModelProto
    repeated: frozenset[str] = field(default_factory=frozenset)


def session(
    content: bytes, name: str, optimised: Path | None = None
) -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime, on the CPU and with one thread.

    Raises:
        ModelError: ONNX Runtime refuses it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"], disabled_optimizers=_FUSIONS
        )
    except Exception as error:  # noqa: BLE001  ONNX Runtime has classes of its own
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason"
        raise ModelError(
            f"ONNX Runtime refuses {name}: {reason.rstrip('.')}.",
            "Check it with onnx.checker, or export it again.",
        ) from None


def folded(model: onnx.ModelProto, name: str) -> Folded:
    """Fold what can be computed before any image is there, and free the number of images.

    Args:
        model: looked over.
        name: of the file, for messages.

    Raises:
        ModelError: ONNX Runtime refuses it, or more than reshapes depend on the number of images.
    """
    size = images_of(model)
    if size is not None:
        found = _Freed(_optimised(model, size, name), size)
    else:
        found = _Freed.both([_optimised(model, one, name) for one in SIZES], name)
    _leave_out_defaults(found.model)
    return _renamed(found.model, found.repeated)


def input_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The one input; old exports name the weights among the inputs, too.

    Raises:
        ModelError: there are several, or none.
    """
    held = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in held]
    if len(inputs) != 1:
        named = ", ".join(one.name[:40] for one in inputs[:6]) or "none"
        raise ModelError(
            f"The ONNX network takes {len(inputs)} inputs ({named}); an image classifier takes one."
        )
    found: onnx.ValueInfoProto = inputs[0]
    return found


def images_of(model: onnx.ModelProto) -> int | None:
    """The number of images that a model is fixed to; None for any."""
    sizes = input_of(model).type.tensor_type.shape.dim
    return (sizes[0].dim_value if sizes and sizes[0].HasField("dim_value") else None) or None


def _optimised(model: onnx.ModelProto, images: int, name: str) -> onnx.ModelProto:
    """The model for so many images, after all that depends on shapes alone was computed."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    sizes = input_of(fixed).type.tensor_type.shape.dim
    if sizes:
        sizes[0].dim_value = images
    for one in fixed.graph.output:
        one.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        session(fixed.SerializeToString(), name, path)
        folded_model = onnx.load(path, load_external_data=False)
    if any(
        attribute.HasField("g") for one in folded_model.graph.node for attribute in one.attribute
    ):
        kinds = sorted({one.op_type for one in folded_model.graph.node if _branches(one)})
        raise ModelError(
            f"The ONNX file {name} uses {', '.join(kinds)}: its path hangs on the numbers in an "
            "image, and a classifier to be attacked has one path.",
            "Export it without the branch.",
        )
    return folded_model


def _branches(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)


class _Freed:
    """A folded graph whose reshapes and repeated rows are made those of any number of images."""

    def __init__(self, model: onnx.ModelProto, images: int) -> None:
        self.model = infer_shapes(model, data_prop=True)
        self.images = images
        self.repeated: set[str] = set()
        self.values = {one.name: one for one in self.model.graph.initializer}
        graph = self.model.graph
        self.sizes = {
            one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
            for one in (*graph.value_info, *graph.input, *graph.output)
        }
        for place, node in enumerate(graph.node):
            if node.op_type == "Reshape":
                self._free_reshape(place, node)
            elif node.op_type == "Concat" and self._axis(node) != 0:
                self._note_rows(node)

    def _free_reshape(self, place: int, node: onnx.NodeProto) -> None:
        """Among the first dimensions, which stay as they are, may be that of the images."""
        before, after = self.sizes.get(node.input[0]), self.sizes.get(node.output[0])
        if not before or not after or not all(after):
            return
        for at, (old, new) in enumerate(zip(before, after, strict=False)):
            if old != new:
                return
            if new == self.images:
                self._reshape_to(place, [*after[:at], -1, *after[at + 1 :]])
                return

    def _reshape_to(self, place: int, sizes: Sequence[int]) -> None:
        node = self.model.graph.node[place]
        node.input[1] = self._named(node.input[1], np.array(sizes))

    def _named(self, old: str, sizes: Array) -> str:
        """An initialiser of its own: several nodes may share their sizes."""
        name = f"{old} {len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(sizes, name))
        return name

    def _note_rows(self, node: onnx.NodeProto) -> None:
        """What is joined to each image, such as the token of the class."""
        if all(one in self.values for one in node.input):
            return
        for one in node.input:
            if one in self.values and list(self.values[one].dims[:1]) == [self.images]:
                self._repeat(one)

    def _repeat(self, name: str) -> None:
        rows = numpy_helper.to_array(self.values[name])
        if (rows == rows[:1]).all():
            self.values[name].CopyFrom(numpy_helper.from_array(rows[:1], name))
            self.repeated.add(name)

    def _axis(self, node: onnx.NodeProto) -> int:
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        dimensions = len(self.sizes.get(node.output[0], ())) or 1
        return axis % dimensions

    @classmethod
    def both(cls, models: Sequence[onnx.ModelProto], name: str) -> _Freed:
        """From one graph, folded for each of ``SIZES``.

        Raises:
            ModelError: they differ in more than reshapes and repeated rows.
        """
        few, more = (cls(model, size) for model, size in zip(models, SIZES, strict=True))
        one, other = few.model.graph, more.model.graph
        alike = [node.op_type for node in one.node] == [node.op_type for node in other.node]
        for place, (node, twin) in enumerate(zip(one.node, other.node, strict=False)):
            for slot, (first, second) in enumerate(zip(node.input, twin.input, strict=False)):
                if first not in few.values or second not in more.values or not alike:
                    alike = alike and (first in few.values) == (second in more.values)
                    continue
                alike = few._merge(place, slot, more.values[second])
        if not alike:
            raise ModelError(
                f"The ONNX file {name} cannot be converted: more than its reshapes depends on "
                "the number of images.",
                BY_ORIGIN,
            )
        return few

    def _merge(self, place: int, slot: int, other: onnx.TensorProto) -> bool:
        """Whether an initialiser is that of any number of images, or was made so."""
        node = self.model.graph.node[place]
        name = node.input[slot]
        mine, theirs = (numpy_helper.to_array(one) for one in (self.values.get(name), other) if one)
        if mine.shape == theirs.shape and np.array_equal(
            mine, theirs, equal_nan=mine.dtype.kind == "f"
        ):
            return True
        if node.op_type == "Reshape" and slot == 1 and mine.shape == theirs.shape:
            return self._merge_reshape(place, mine, theirs)
        if node.op_type == "Expand" and slot == 1 and mine.shape == theirs.shape:
            return self._merge_expand(node, mine, theirs)
        if mine.shape[:1] == SIZES[:1] and theirs.shape[:1] == SIZES[1:]:
            self._repeat(name)
            return name in self.repeated and mine.shape[1:] == theirs.shape[1:]
        return False

    def _merge_reshape(self, place: int, mine: Array, theirs: Array) -> bool:
        after = self.sizes.get(self.model.graph.node[place].output[0]) or []
        differ = mine != theirs
        if int(differ.sum()) != 1 or len(after) != len(mine) or not all(after):
            return False
        sizes = [-1 if one else size for one, size in zip(differ, after, strict=True)]
        self._reshape_to(place, sizes)
        return True

    def _merge_expand(self, node: onnx.NodeProto, mine: Array, theirs: Array) -> bool:
        """For torch, whose expand leaves a dimension as it is at -1; ONNX has 1 for that."""
        before = self.sizes.get(node.input[0]) or []
        differ = mine != theirs
        if len(before) != len(mine) or any(np.array(before)[differ] != self.images):
            return False
        node.input[1] = self._named(node.input[1], np.where(differ, -1, mine))
        return True


def _leave_out_defaults(model: onnx.ModelProto) -> None:
    """Attributes with the value that the standard gives them; converters know few of them."""
    versions = {one.domain: one.version for one in model.opset_import}
    for node in model.graph.node:
        known = onnx.defs.get_schema(node.op_type, versions.get("", 1)).attributes
        kept = [
            one
            for one in node.attribute
            if one.name not in known
            or known[one.name].default_value.type != one.type
            or _value(known[one.name].default_value) != _value(one)
        ]
        del node.attribute[:]
        node.attribute.extend(kept)


def _value(attribute: onnx.AttributeProto) -> object:
    return onnx.helper.get_attribute_value(attribute)


def _renamed(model: onnx.ModelProto, repeated: set[str]) -> Folded:
    """The same with names of our own: those of a file become names of parts, and of Python's."""
    graph = model.graph
    names: dict[str, str] = {"": ""}
    for text in _texts(graph):
        names.setdefault(text, f"v{len(names)}")
    for node in graph.node:
        node.name = node.doc_string = ""
        node.input[:] = [names[one] for one in node.input]
        node.output[:] = [names[one] for one in node.output]
    for value in (*graph.initializer, *graph.input, *graph.output):
        value.name = names[value.name]
    del graph.value_info[:]
    return Folded(model, frozenset(names[one] for one in repeated))


def _texts(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.initializer, *graph.output):
        yield value.name
    for node in graph.node:
        yield from node.input
        yield from node.output
