"""Weights that an ONNX graph makes from integers before any image is there; free of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

_SINCE = 19
"""The first version of the operator that the reference computes; earlier ones mean the same."""

NOTE = "Weights were stored as integers with scales; they were multiplied out, exactly."


def dequantise(model: onnx.ModelProto) -> bool:
    """Multiply out, in place, the weights that are held as integers; whether there were any.

    Activations that are dequantised stay as they are.
    """
    graph = model.graph
    held = {one.name: one for one in graph.initializer}
    version = max(_SINCE, *(one.version for one in model.opset_import if not one.domain))
    kept = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or any(one not in held for one in node.input if one):
            kept.append(node)
            continue
        given = {one: numpy_helper.to_array(held[one]) for one in node.input if one}
        (weight, *_) = ReferenceEvaluator(_alone(node, given, version)).run(None, given)
        graph.initializer.append(numpy_helper.from_array(np.asarray(weight), node.output[0]))
    found = len(kept) < len(graph.node)
    if found:
        nodes = [onnx.NodeProto.FromString(one.SerializeToString()) for one in kept]
        del graph.node[:]
        graph.node.extend(nodes)
    return found


def _alone(node: onnx.NodeProto, given: dict[str, Any], version: int) -> onnx.ModelProto:
    inputs = [onnx.helper.make_empty_tensor_value_info(one) for one in given]
    outputs = [onnx.helper.make_empty_tensor_value_info(one) for one in node.output]
    graph = onnx.helper.make_graph([node], "weights", inputs, outputs)
    opset = [onnx.helper.make_opsetid("", version)]
    made: onnx.ModelProto = onnx.helper.make_model(graph, opset_imports=opset)
    return made
