"""From a model that was looked over to an exported program."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from engine.errors import ModelError
from engine.importing.onnx_files.compare import compare
from engine.importing.onnx_files.fold import folded, input_of, session
from engine.importing.onnx_files.layout import layout_of
from engine.importing.onnx_files.network import Network, Taking
from engine.importing.onnx_files.weights import NOTE, dequantise
from engine.importing.source import export_classifier
from engine.safe_files.way_out import BY_ORIGIN

_RANDOM = 3


def convert(model: onnx.ModelProto, name: str, images: Path, result: Path) -> tuple[str, ...]:
    """Write the network of a model as an exported program.

    Args:
        model: looked over.
        name: of the file, for messages.
        images: an .npy of (N, C, H, W) images in [0, 1], on which it is compared.
        result: where to write.

    Returns:
        What is worth telling.

    Raises:
        ModelError: it cannot be converted, or ONNX Runtime says something else.
    """
    theirs = torch.from_numpy(np.load(images, allow_pickle=False))
    channels, height, width = theirs.shape[1:]
    shape = (channels, height, width)
    layout = layout_of(input_of(model), shape, name)
    runtime = session(model.SerializeToString(), name)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    input_of(plain).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    integers = dequantise(plain)
    converted = _network(plain, name)
    network = Taking(converted, layout).eval()
    random = torch.rand(_RANDOM, *shape, generator=torch.Generator().manual_seed(0))
    random = (random * 255).round() / 255
    apart = max(compare(network, model, runtime, layout, one, name) for one in (random, theirs))
    converted.leave_out_unused()
    content, notes = export_classifier(network, shape, name)
    result.write_bytes(content)
    agrees = (
        f"ONNX, converted to torch: it agrees with ONNX Runtime on {len(theirs)} of these images "
        f"and {_RANDOM} random ones (largest relative difference {apart:.1g})."
    )
    return agrees, *([NOTE] if integers else []), *layout.notes(shape), *notes


def _network(model: onnx.ModelProto, name: str) -> Network:
    found = folded(model, name)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Network(found)
    except Exception as error:  # noqa: BLE001  the converter raises whatever it does not know
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise ModelError(
            f"The ONNX file {name} cannot be converted: {reason or type(error).__name__}.",
            BY_ORIGIN,
        ) from None
