"""Sizes that are tensors keep their values while torch.export follows a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

_NAMES: dict[Any, Any] = {torch.true_divide: torch.div}
"""Names of one function, of which programs know the second."""


class KnownValues(TorchFunctionMode):
    """What is computed from plain tensors and numbers alone is computed, not followed.

    While torch.export follows a network, its images and weights are tensors of other classes. ONNX
    has sizes, axes and bounds as tensors, too; from those that are known comes what is known.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        func = _NAMES.get(func, func)
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            args = args[0], tuple(args[1])  # a list of slices, which torch is to take as a tensor
        leaves = [one for leaf in tree_leaves((args, kwargs)) for one in _parts(leaf)]
        if all(not isinstance(one, Tensor | torch.SymInt) or _known(one) for one in leaves):
            with _disable_current_modes():
                return func(*args, **kwargs)
        if func is torch.result_type:  # no operator of a classifier's program
            with _disable_current_modes():
                return func(*(_like(one) for one in args))
        args, kwargs = tree_map(_number, (args, kwargs))
        return func(*args, **kwargs)


def _known(value: Any) -> bool:
    return type(value) is Tensor


def _parts(leaf: Any) -> list[Any]:
    return [leaf.start, leaf.stop, leaf.step] if isinstance(leaf, slice) else [leaf]


def _like(value: Any) -> Any:
    """A tensor of the same type and number of dimensions."""
    return torch.ones((1,) * value.dim(), dtype=value.dtype) if isinstance(value, Tensor) else value


def _number(value: Any) -> Any:
    """A known tensor of one number as that number, where it meets what is followed."""
    if isinstance(value, slice):
        return slice(*(_number(one) for one in _parts(value)))
    if _known(value) and value.dim() == 0 and not value.is_floating_point():
        with _disable_current_modes():
            return value.item()
    return value
