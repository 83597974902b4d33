"""A variant of 8 bits in ONNX Runtime, on integers and in fp32; needs the extra ``onnx``."""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from engine.compression import Variant
from engine.compression.attack_view import fold_batch_norm
from engine.compression.layers import modules_of, replace_module, weight_layers
from engine.compression.parts.base import ActivationQuantiser, WeightQuantiser

BITS = 8
_INPUT, _OUTPUT = "images", "logits"
_LAYERS = ("Conv", "Gemm")
_INTEGER_LAYERS = ("QLinearConv", "QGemm", "ConvInteger", "MatMulInteger", "QLinearMatMul")
_CALIBRATION_BATCH = 64
_BATCHES = (1, 64)
_WARM_UP = 2
_LEAST, _MOST, _SECONDS = 5, 50, 0.1

Overrides = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class IntegerPair:
    """The same network twice in ONNX Runtime.

    Attributes:
        engine: name and version.
        integer_layers: convolutions and linear layers that run on integers.
        layers: all of them.
        own_scales: tensors that have the scales of the variant.
    """

    engine: str
    integer_layers: int
    layers: int
    own_scales: int
    _integer: onnxruntime.InferenceSession
    _fp32: onnxruntime.InferenceSession

    def integer(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of the integer engine; (N, C, H, W) in [0,1] to (N, K)."""
        return torch.cat([_run(self._integer, part) for part in torch.split(images, 256)])

    def latency(self, images: torch.Tensor) -> Iterator[dict[str, Any]]:
        """Median times of a pass, both in turn, for batches of 1 and 64."""
        for batch in _BATCHES:
            part = images[torch.arange(batch) % len(images)]
            for _ in range(_WARM_UP):
                _run(self._integer, part)
                _run(self._fp32, part)
            times: list[tuple[float, float]] = []
            while len(times) < _LEAST or (len(times) < _MOST and sum(map(sum, times)) < _SECONDS):
                times.append((_seconds(self._integer, part), _seconds(self._fp32, part)))
            own, others = zip(*times, strict=True)
            yield {
                "batch": batch,
                "milliseconds": 1e3 * statistics.median(own),
                "fp32_milliseconds": 1e3 * statistics.median(others),
                "repeats": len(times),
                "threads": torch.get_num_threads(),
            }


def integer_pair(variant: Variant, calibration: torch.Tensor) -> IntegerPair:
    """Bring a variant to ONNX Runtime.

    Args:
        variant: of 8 bits.
        calibration: (N, C, H, W) images; their ranges decide where the variant has no scale.
    """
    plain, order = _plain(variant, calibration[:1])
    with tempfile.TemporaryDirectory() as folder:
        fp32, prepared, integer, optimised = (Path(folder) / f"{n}.onnx" for n in range(4))
        _export(plain, calibration[:2], fp32)
        quant_pre_process(fp32, prepared, skip_optimization=True, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        overrides, excluded = _overrides(graph, order)
        quantize_static(
            prepared,
            integer,
            _Images(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            extra_options={"TensorQuantOverrides": overrides},
        )
        session = _session(integer, optimised)
        kinds = [node.op_type for node in onnx.load(optimised).graph.node]
        return IntegerPair(
            engine=f"ONNX Runtime {onnxruntime.__version__}",
            integer_layers=sum(kind in _INTEGER_LAYERS for kind in kinds),
            layers=sum(node.op_type in _LAYERS for node in graph.node),
            own_scales=len(overrides),
            _integer=session,
            _fp32=_session(fp32),
        )


@dataclass(frozen=True, eq=False)
class _Order:
    """In the order of execution: the channel scales of each layer's weight, and those of clips.

    None where the variant has none; ``fp32`` tells the layers that are not quantised at all.
    """

    weights: list[torch.Tensor | None]
    fp32: list[bool]
    activations: list[float | None]


def _plain(variant: Variant, image: torch.Tensor) -> tuple[nn.Module, _Order]:
    """The deployed model with BatchNorm folded, ReLUs clipped where they are quantised.

    With it the scales of the quantisers that went. The clips keep what is calibrated behind them
    in the range it has in the variant.
    """
    model, quantisers = variant.deployed(), variant.weight_quantisers
    codes = {
        name: quantisers[name].codes(layer.weight.detach())
        for name, layer in weight_layers(model)
        if name in quantisers and _is_symmetric(quantisers[name])
    }
    clips = {
        path.rpartition(".")[0]: _activation_scale(part)
        for path, part in modules_of(model, ActivationQuantiser)
    }
    for path, scale in clips.items():
        replace_module(model, path, nn.Hardtanh(0.0, scale * (2**BITS - 1)))
    fold_batch_norm(model)
    layers: list[str] = []
    clipped: list[str] = []
    for name, layer in weight_layers(model):
        layer.register_forward_pre_hook(lambda _m, _x, name=name: layers.append(name))
    for name, clip in modules_of(model, nn.Hardtanh):
        clip.register_forward_pre_hook(lambda _m, _x, name=name: clipped.append(name))
    with torch.no_grad():
        model(image)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    weights = [_folded_scale(model, name, codes.get(name)) for name in layers]
    fp32 = [name not in quantisers for name in layers]
    return model, _Order(weights, fp32, [clips.get(name) for name in clipped])


def _is_symmetric(quantiser: WeightQuantiser) -> bool:
    """Whether a code is the weight over its scale, as the integer engine has it."""
    return quantiser.lowest < 0


def _activation_scale(part: nn.Module) -> float:
    """The distance of two levels of an activation whose codes are 0 to 255."""
    return float(getattr(part, "scale", 1 / (2**BITS - 1)))


def _folded_scale(model: nn.Module, name: str, codes: torch.Tensor | None) -> torch.Tensor | None:
    """Per channel; folding BatchNorm multiplied each channel, so its codes are as they were."""
    if codes is None:
        return None
    weight = model.get_submodule(name).weight
    assert isinstance(weight, torch.Tensor)
    size, code = (t.detach().abs().flatten(1).amax(dim=1) for t in (weight, codes))
    return torch.where((size > 0) & (code > 0), size / code, torch.ones_like(size))


def _overrides(graph: Any, order: _Order) -> tuple[Overrides, list[str]]:
    """The variant's scales by the names of the graph, and the nodes to leave in fp32.

    Nodes stand in the order of execution. Where they are not as many as the modules that were
    called, nothing can be told apart, and all scales are calibrated.
    """
    layers = [node for node in graph.node if node.op_type in _LAYERS]
    clips = [node for node in graph.node if node.op_type == "Clip"]
    overrides: Overrides = {}
    excluded: list[str] = []
    if len(layers) == len(order.weights):
        excluded = [n.name for n, fp32 in zip(layers, order.fp32, strict=True) if fp32]
        for node, scales in zip(layers, order.weights, strict=True):
            if scales is not None:
                overrides[node.input[1]] = [
                    {"axis": 0, "quant_type": QuantType.QInt8, **_at(float(scale), "int8")}
                    for scale in scales
                ]
    if len(clips) == len(order.activations):
        for node, scale in zip(clips, order.activations, strict=True):
            if scale is not None:
                kind = {"quant_type": QuantType.QUInt8}
                overrides[node.output[0]] = [{**kind, **_at(scale, "uint8")}]
    return overrides, excluded


def _at(scale: float, kind: str) -> dict[str, Any]:
    return {"scale": np.array(scale, np.float32), "zero_point": np.array(0, kind)}


def _export(model: nn.Module, images: torch.Tensor, path: Path) -> None:
    """By the exporter that follows a trace: a fraction of a second, the other takes many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=False,
            external_data=False,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes={_INPUT: {0: "n"}, _OUTPUT: {0: "n"}},
        )


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: torch.Tensor) -> None:
        self._parts = iter(torch.split(images, _CALIBRATION_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """The next batch as the calibrator asks for it."""
        part = next(self._parts, None)
        return None if part is None else {_INPUT: part.numpy()}


def _session(path: Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Processors without VNNI add pairs of products in 16 bits, which overflow; exact instead.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )


def _run(session: onnxruntime.InferenceSession, images: torch.Tensor) -> torch.Tensor:
    (logits,) = session.run([_OUTPUT], {_INPUT: images.numpy()})
    return torch.from_numpy(logits)


def _seconds(session: onnxruntime.InferenceSession, images: torch.Tensor) -> float:
    begun = time.perf_counter()
    _run(session, images)
    return time.perf_counter() - begun
