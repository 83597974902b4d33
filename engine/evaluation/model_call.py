"""The one way to call a model: its images stay as they are, and its answer is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import AttackError


def ask(model: nn.Module, images: Tensor) -> Tensor:
    """The logits that a model gives for images, which stay as they are.

    The model gets a copy: some write into what they are given (``x.clamp_(0, 1)``), and that
    would be what the next model sees. Where the weights have another precision than the images,
    the copy has theirs. A model that squeezes its output gives a row for one image all the same.

    Args:
        model: from (N, C, H, W) images in [0, 1] to (N, K) logits.
        images: (N, C, H, W) float32; gradients flow back through the copy.

    Raises:
        AttackError: the model does not return a tensor.
    """
    precision = _precision(model)
    own = images.clone() if precision in (None, images.dtype) else images.to(precision)
    answer = model(own)
    if not isinstance(answer, Tensor):
        raise AttackError(*_not_logits(answer))
    return answer.unsqueeze(0) if answer.dim() == 1 and len(images) == 1 else answer


def _precision(model: nn.Module) -> torch.dtype | None:
    """That of the weights: of the first, where it is float32; else None unless all are alike."""
    found: torch.dtype | None = None
    for weight in model.parameters():
        if not weight.is_floating_point():
            continue
        if found is None and weight.dtype == torch.float32:
            return weight.dtype
        if found not in (None, weight.dtype):
            return None
        found = weight.dtype
    return found


_LIKELY = ("logits", "output", "out", "pred", "prediction", "predictions")
"""Names under which a model keeps its logits."""


def _not_logits(answer: Any) -> tuple[str, str]:
    """What a model returned in place of a tensor, and how to get at its logits."""
    what, way = type(answer).__name__, ""
    if isinstance(answer, Mapping):
        what += f" with the keys {', '.join(map(repr, answer)) or 'none'}"
        way = f"[{_likely(answer)!r}]" if answer else ""
    elif names := _fields(answer):
        what += f" with the fields {', '.join(names)}"
        way = f".{_likely(names)}"
    elif isinstance(answer, (tuple, list)):
        what += f" of {len(answer)}"
        way = "[0]"
    hint = f"Wrap it in a module whose forward returns model(images){way}." if way else ""
    return f"The model returns a {what}, not a tensor of logits.", hint


def _fields(answer: Any) -> list[str]:
    """Names of what a named tuple or another object holds."""
    if hasattr(answer, "_fields"):
        return list(answer._fields)
    held = getattr(answer, "__dict__", {}).items()
    return [name for name, value in held if isinstance(value, Tensor)]


def _likely(names: Iterable[Any]) -> Any:
    """The name that logits probably have; else the first."""
    known = list(names)
    return next((name for name in _LIKELY if name in known), known[0])
