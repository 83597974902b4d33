"""A differentiable twin of a model whose own operations cut the gradient.

Backward pass differentiable approximation (Athalye 2018, arXiv 1802.00420, section 4.1) with
the straight-through estimator (Bengio 2013, arXiv 1308.3432): each staircase keeps its value
and passes the gradient as if it were the ramp through its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.host.memory import memory_errors

Compute = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor | float]

_ROUNDINGS = {"round", "floor", "ceil", "trunc", "fix"}
_CLAMPS = {"clamp", "clip", "clamp_min", "clamp_max"}
_COMPARISONS = {"gt", "ge", "greater", "greater_equal"}
_REVERSED = {"lt", "le", "less", "less_equal"}
_CASTS = {"to", "type", "type_as", "int", "long", "short", "char", "byte", "bool"}
_QUANTISERS = {"quantize_per_tensor", "quantize_per_channel"}
_FLOORED_DIVISIONS = {"floor_divide", "__floordiv__"}
_DIVISIONS = {"div", "divide"}
_CUTS = {"detach"}
_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


class StraightThrough(nn.Module):
    """A model with the same outputs, bit for bit, and straight-through gradients.

    Inside its forward, with respect to what they are applied to:

    - round, floor, ceil, trunc, rounded division, quantisation and casts to integers have the
      gradient of the identity (of the quotient);
    - clamp has gradient 1 where it changed nothing, its bounds included, else 0;
    - sign has gradient 1 and heaviside and comparisons with >, >=, <, <= have gradient 1/2 where
      the distance from the jump is at most 1, else 0 (hard tanh: Courbariaux 2016,
      arXiv 1602.02830);
    - ``detach``, ``.data`` and ``no_grad`` do not cut.

    Integers, bools and quantised tensors carry the gradient on through whatever computes
    the same values on floats. Beyond reach are scripts, NumPy and kernels without a float
    counterpart; through those there is no gradient, as before.

    Args:
        inner: from (N, C, H, W) images to (N, K) logits; shared, not copied.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        if torch.is_grad_enabled():
            with _PassThrough():
                return self._logits(images)
        return self._logits(images)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits


class _Through(torch.autograd.Function):
    """Any value of a tensor, with a given slope in place of its derivative."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, compute: Compute, slope: Slope) -> Tensor:
        value = compute(source)
        ctx.slope = slope(source, value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] * ctx.slope, None, None


def _one(_: Tensor, __: Tensor) -> float:
    return 1.0


def _unchanged(source: Tensor, value: Tensor) -> Tensor:
    return (source == value).to(source.dtype)


def _near_zero(source: Tensor, _: Tensor) -> Tensor:
    return (source.abs() <= 1).to(source.dtype)


def _half_near_zero(source: Tensor, _: Tensor) -> Tensor:
    return (source.abs() <= 1).to(source.dtype) / 2


_SLOPES: dict[str, Slope] = {"sign": _near_zero, "sgn": _near_zero, "heaviside": _half_near_zero}


def _through(source: Tensor, compute: Compute, slope: Slope = _one) -> Tensor:
    result: Tensor = _Through.apply(source, compute, slope)
    return result


def _name(func: Any) -> str:
    """``round`` for all of torch.round, Tensor.round, round_ and aten.round.default."""
    name = _full_name(func)
    return name if name.startswith("__") else name.removesuffix("_")


def _full_name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).split(".")[0]


def _carries(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.requires_grad


class _PassThrough(TorchFunctionMode):
    """Gives gradients to what has none, call by call, for one forward."""

    def __init__(self) -> None:
        super().__init__()
        # By id, as tensors compare elementwise; the tensor is kept so that its id stays its own.
        self._ramps: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch._C._set_grad_enabled:
            return None
        name = _name(func)
        if args and _carries(args[0]):
            if name in _CUTS or func == _DATA:
                return args[0]
            found = self._staircase(name, func, args, options)
            if found is not None:
                return found
        if name in _COMPARISONS | _REVERSED and any(map(_carries, args)):
            return self._compare(name in _REVERSED, func, args, options)
        value = func(*args, **options)
        return self._carry_on(name, func, args, options, value) if self._ramps else value

    def _staircase(
        self, name: str, func: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Tensor | None:
        """The result of a function of a float tensor that has no useful derivative."""
        source: Tensor = args[0]
        if "out" in options:
            return None

        def compute(values: Tensor) -> Tensor:
            result: Tensor = func(values, *args[1:], **options)
            return result

        if name in _ROUNDINGS | _CLAMPS | _SLOPES.keys():
            slope = _SLOPES.get(name, _unchanged if name in _CLAMPS else _one)
            if _full_name(func).endswith("_"):
                source.copy_(_through(source, lambda x: compute(x.clone()), slope))
                return source
            return _through(source, compute, slope)
        if name in _FLOORED_DIVISIONS or (name in _DIVISIONS and options.get("rounding_mode")):
            return _through(torch.true_divide(source, args[1]), lambda _: compute(source))
        if name in _CASTS | _QUANTISERS:
            return self._discretise(source, compute)
        return None

    def _discretise(self, source: Tensor, compute: Compute) -> Tensor:
        """A cast or a quantisation; what is not float any more keeps its floats beside it."""
        value = compute(source)
        if isinstance(value, Tensor) and not value.is_floating_point():
            levels = value.dequantize() if value.is_quantized else value
            self._ramps[id(value)] = (value, _through(source, lambda x: levels.to(x.dtype)))
        return value

    def _compare(
        self, reverse: bool, func: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Tensor:
        value: Tensor = func(*args, **options)
        gap = args[1] - args[0] if reverse else args[0] - args[1]
        self._ramps[id(value)] = (
            value,
            _through(gap, lambda x: value.to(x.dtype), _half_near_zero),
        )
        return value

    def _carry_on(
        self, name: str, func: Any, args: tuple[Any, ...], options: dict[str, Any], value: Any
    ) -> Any:
        """Redo a call on the floats beside its integers, if that gives the same values."""
        if not isinstance(value, Tensor) or not any(id(each) in self._ramps for each in args):
            return value
        floats = tuple(self._float_of(each) for each in args)
        try:
            with memory_errors():
                ramp = _ON_FLOATS.get(name, func)(*floats, **options)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except (RuntimeError, TypeError, IndexError):  # no such operation on floats
            return value
        plain = value.dequantize() if value.is_quantized else value
        if not isinstance(ramp, Tensor) or not _same(ramp, plain):
            return value
        if value.is_floating_point():
            return ramp.to(value.dtype)
        if ramp.is_floating_point():
            self._ramps[id(value)] = (value, ramp)
        return value

    def _float_of(self, value: Any) -> Any:
        return self._ramps[id(value)][1] if id(value) in self._ramps else value


def _where(condition: Tensor, one: Any, other: Any) -> Tensor:
    """``where`` with a gradient for its condition, unless its branches have their own."""
    if _carries(one) or _carries(other):
        return torch.where(condition != 0, one, other)
    return condition * one + (1 - condition) * other  # type: ignore[no-any-return]


_ON_FLOATS: dict[str, Callable[..., Any]] = {
    "where": _where,
    "dequantize": lambda levels: levels,
    **dict.fromkeys(("bitwise_not", "logical_not", "__invert__"), lambda one: 1 - one),
    **dict.fromkeys(("bitwise_and", "logical_and", "__and__"), lambda one, two: one * two),
    **dict.fromkeys(("bitwise_or", "logical_or", "__or__"), lambda one, two: one + two - one * two),
}
"""What some functions of bools and quantised tensors are on floats."""


def _same(ramp: Tensor, value: Tensor) -> bool:
    return ramp.shape == value.shape and torch.equal(ramp.to(value.dtype), value)
