"""Whether a model rounds: then its search takes exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.evaluation.guard import forked_rng
from engine.evaluation.model_call import ask

_ROUNDING = {
    "round",
    "floor",
    "ceil",
    "trunc",
    "fix",
    "frac",
    "sign",
    "sgn",
    "heaviside",
    "bucketize",
    "searchsorted",
    "floor_divide",
    "quantize_per_tensor",
    "quantize_per_channel",
}
_FAKE = "fake_quantize"


class _Watch(TorchDispatchMode):
    """Notes whether anything that has steps is applied to floats."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        value = func(*args, **options)
        if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            name = func.overloadpacket.__name__.removesuffix("_").removeprefix("_")
            self.seen |= (
                name in _ROUNDING
                or name.startswith(_FAKE)
                or bool(options.get("rounding_mode"))
                or (name == "to_copy" and not _is_float(value))
            )
        return value


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def rounds(model: nn.Module, image: Tensor) -> bool:
    """Whether a forward of one image (1, C, H, W) rounds anything, quantisers of ours included.

    A rounded value jumps where another arithmetic adds a last bit, so a search in bf16 or TF32
    climbs another function than the one that is judged.
    """
    with forked_rng(0), torch.no_grad(), _Watch() as watch:
        ask(model, image)
    return bool(watch.seen)
