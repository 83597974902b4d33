"""How much memory a program would take, from shapes alone.

A program of a few bytes may ask for tensors of any size. So it is first run on tensors without
memory (torch's fake tensors), operator by operator, whatever sizes the file itself declares.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MOST_BYTES = 512 * 2**20
"""Of one tensor, and 4 times as many of all that are there at one time.

EfficientNet-B7 at its 600 pixels makes no tensor above 66 MB per image, and 191 MB at one time.
"""

_AT_ONE_TIME = 4


class TooLarge(Exception):
    """A tensor is larger than the bound; the message says what and how large."""


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what every operator makes."""

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = most
        self.live = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor):
                self._count(one, str(func))
        return found

    def _count(self, tensor: torch.Tensor, operator: str) -> None:
        size = tensor.numel() * tensor.element_size()
        self.live += size
        weakref.finalize(tensor, self._release, size)
        if size > self.most:
            shape = "x".join(map(str, tensor.shape))
            raise TooLarge(f"{operator} makes a tensor of {shape}, {size / 2**20:,.0f} MB")
        if self.live > _AT_ONE_TIME * self.most:
            raise TooLarge(f"its tensors take more than {self.live / 2**20:,.0f} MB at one time")

    def _release(self, size: int) -> None:
        self.live -= size


def check_size(run: Callable[[torch.Tensor], object], shape: tuple[int, ...], most: int) -> None:
    """Run a function on a tensor without memory.

    Args:
        run: of a batch of images.
        shape: (N, C, H, W) of the batch.
        most: bytes that one tensor may have.

    Raises:
        TooLarge: an operator makes a larger one, or all together would not fit.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it prints a traceback beside raising it
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), _Bounded(most):
            run(torch.empty(shape))
    finally:
        log.setLevel(level)
