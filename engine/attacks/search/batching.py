"""Forward and backward in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from engine.host.memory import give_back_device_memory, memory_errors

_T = TypeVar("_T")

_FITS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""Images that fitted into memory together, for models that did not fit at once before."""


def bucket(count: int, per_doubling: int) -> int:
    """The next of a few batch sizes, so many between a power of two and the next.

    A new shape costs more than some idle lanes: on a CPU, kernels are generated for it, on a
    GPU, chosen or captured.
    """
    if count == 0:
        return 0
    step = max(1 << (count.bit_length() - 1), per_doubling) // per_doubling
    return -(-count // step) * step


def in_chunks(model: nn.Module, count: int, work: Callable[[slice], _T]) -> list[_T]:
    """Do the work in one piece, or in halves of halves if memory does not hold it.

    What fitted is remembered for the model, so that the next call does not fail again first.

    Args:
        model: what the work is done with.
        count: images in all.
        work: handles the images of one slice.

    Raises:
        torch.OutOfMemoryError: not even one image fits.
    """
    done: list[_T] = []
    size = min(_FITS.get(model, count), count)
    start = 0
    while start < count:
        part = slice(start, min(start + size, count))
        try:
            with memory_errors():
                found = work(part)
                # The whole is left as it is: what is made of it is the caller's.
                done.append(found if part == slice(0, count) else _own(found))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            full = True
        else:
            full, start = False, part.stop
        # Only here: inside the handler the traceback would keep what did not fit alive.
        if full:
            size = _FITS[model] = size // 2
            give_back_device_memory()
    return done


def _own(found: Any) -> Any:
    """A copy of a tensor or of several: a model may write its next outputs into the same memory."""
    if isinstance(found, tuple):
        return tuple(map(_own, found))
    return found.clone() if isinstance(found, Tensor) else found
