"""Programs in double or half precision, made ones in single precision.

Images, masks, quantisers and verdicts are float32; a layer of another type fits none of them.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import fx, nn

_OTHERS = (torch.float64, torch.float16, torch.bfloat16)
_ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
_LAYERS = 16
"""How often the rounding of one number may add up to a logit's."""


def single(module: fx.GraphModule, image: fx.Node) -> torch.dtype | None:
    """Make all floating tensors of a graph float32, in place.

    Returns:
        The type that most of its parameters had, None if nothing had to change.
    """
    tensors = list(itertools.chain(module.parameters(), module.buffers()))
    found = [one.dtype for one in tensors if one.dtype in _OTHERS]
    value = image.meta.get("val")
    if isinstance(value, torch.Tensor) and value.dtype in _OTHERS:
        found.append(value.dtype)
    if not found:
        return None
    made: dict[int, torch.Tensor] = {}  # the program itself keeps its own
    for part in module.modules():
        for held in cast(list[dict[str, Any]], [part._parameters, part._buffers]):
            for name, tensor in held.items():
                if tensor is not None and tensor.dtype in _OTHERS:
                    held[name] = made.setdefault(id(tensor), _singled(tensor))
    for node in module.graph.nodes:
        node.args = fx.node.map_aggregate(node.args, _as_single)
        node.kwargs = fx.node.map_aggregate(node.kwargs, _as_single)
    return max(set(found), key=found.count)


def _singled(tensor: torch.Tensor) -> torch.Tensor:
    value = tensor.detach().float()
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def _as_single(value: Any) -> Any:
    return torch.float32 if value in _OTHERS else value


def tolerance(dtype: torch.dtype | None) -> float:
    """By how much a logit may differ from that of the program, relative to the largest."""
    return _LAYERS * _ROUNDING[dtype] if dtype in _ROUNDING else 1e-6


def same_predictions(found: torch.Tensor, expected: torch.Tensor, slack: float) -> bool:
    """Whether rows of logits have their largest at one place, but for ties closer than slack."""
    chosen = expected.gather(1, found.argmax(dim=1, keepdim=True)).squeeze(1)
    return bool((expected.amax(dim=1) - chosen <= 2 * slack).all())
