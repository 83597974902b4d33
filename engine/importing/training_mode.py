"""What a network does only while it is trained, and an exported program therefore loses."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_DROPOUTS = {
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
}
_KEPT = nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd
_BATCH_NORM = (
    *("input", "running_mean", "running_var", "weight", "bias"),
    *("training", "momentum", "eps"),
)
"""The arguments of its function, in order."""

_DRAWS = 4
_NEAR = 1e-5

LOST = (
    "In training mode it also does what an exported program does not keep (for example stochastic "
    "depth, dropout inside of attention, auxiliary heads): fine-tuning trains it without that."
)


class _Still(TorchFunctionMode):
    """Dropout and BatchNorm, which a program keeps, act as in eval mode."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is F.batch_norm:
            given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
            still = given.get("running_mean") is not None
            return func(**{**given, "training": False} if still else given)
        return func(*args, **kwargs)


def lost_in_training(network: nn.Module, images: torch.Tensor) -> str:
    """A sentence for the import if the network does more in training mode; else empty.

    Args:
        network: the user's own; stays as it is.
        images: that it takes.
    """
    twin = copy.deepcopy(network).eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        expected = _asked(twin, images)
        twin.train()
        for module in twin.modules():
            if isinstance(module, _KEPT):
                module.eval()
        with _Still():
            same = all(_same(expected, _asked(twin, images)) for _ in range(_DRAWS))
    return "" if same else LOST


def _asked(network: nn.Module, images: torch.Tensor) -> Any:
    try:
        return network(images.clone())  # it may write into them
    except Exception:  # noqa: BLE001  a network may refuse such images while it is trained
        return None


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return False
    return one.shape == other.shape and torch.allclose(one, other, _NEAR, _NEAR, equal_nan=True)
