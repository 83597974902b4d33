"""Whether a converted network says what ONNX Runtime says of the file itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.importing.onnx_files.fold import images_of, input_of
from engine.importing.onnx_files.layout import Layout
from engine.safe_files.way_out import BY_ORIGIN, by_source

TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest one."""
_LEAST = 1e-3
"""Outputs below this say nothing: what differs is rounding within the network."""

Array = npt.NDArray[Any]


def compare(
    network: nn.Module,
    model: onnx.ModelProto,
    session: onnxruntime.InferenceSession,
    layout: Layout,
    images: Tensor,
    name: str,
) -> float:
    """The largest difference, relative to the largest output.

    Args:
        network: from (N, C, H, W) images in [0, 1].
        model: the file.
        session: of the file as it is.
        layout: how the file takes images.
        images: (N, C, H, W), whole bytes / 255 where the file takes bytes.
        name: of the file, for messages.

    Raises:
        ModelError: it is above ``TOLERANCE``, or the converted network fails.
    """
    expected = _runtime(session, model, layout.of(images), name)
    try:
        with torch.no_grad():
            given = network(images.clone())
    except Exception as error:  # noqa: BLE001  operators fail in ways of their own
        raise _fixed(model, name, f"it fails: {str(error).splitlines()[0][:160]}") from None
    found = [one.numpy() for one in (given if isinstance(given, list | tuple) else [given])]
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            raise _fixed(model, name, f"it gives {one.shape} instead of {other.shape}")
        scale = max(_LEAST, float(np.nan_to_num(np.abs(other), posinf=0.0).max(initial=0.0)))
        apart = np.where(one == other, 0.0, np.abs(one - other))
        largest = max(largest, float(apart.max(initial=0.0)) / scale)
    if not largest <= TOLERANCE:
        raise _fixed(model, name, f"an output differs by {largest:.2g}")
    return largest


def _runtime(
    session: onnxruntime.InferenceSession, model: onnx.ModelProto, images: Tensor, name: str
) -> list[Array]:
    """What the file says of images, as many at once as it takes."""
    kind = input_of(model).type.tensor_type.elem_type
    numbers = images.numpy()
    if kind == onnx.TensorProto.UINT8:
        numbers = numbers.round().astype(np.uint8)
    at_once = images_of(model) or len(numbers)
    parts = []
    try:
        for begin in range(0, len(numbers), at_once):
            some = numbers[begin : begin + at_once]
            filled = np.concatenate([some, np.repeat(some[-1:], at_once - len(some), axis=0)])
            given = session.run(None, {input_of(model).name: filled})
            parts.append([one[: len(some)] for one in given])
    except Exception as error:  # noqa: BLE001  ONNX Runtime has its own
        raise ModelError(
            f"ONNX Runtime cannot run {name}: {str(error).splitlines()[0][:200].rstrip('.')}."
        ) from None
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def _fixed(model: onnx.ModelProto, name: str, what: str) -> ModelError:
    size = images_of(model)
    if size is not None:
        return ModelError(
            f"The network of {name} is made for exactly {size} image{'s' * (size > 1)} at once and "
            f"cannot be freed from that: with more, {what}.",
            "Export it for any number: torch.onnx.export(..., dynamic_axes={'images': {0: 'n'}}, "
            f"input_names=['images']). {by_source('weights.pth')}",
        )
    return ModelError(
        f"The network of {name} was converted, but does not say what ONNX Runtime says: {what} "
        f"(at most {TOLERANCE:g} is allowed).",
        BY_ORIGIN,
    )
