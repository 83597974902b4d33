"""Work in batches that the memory holds: halved where it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from engine.host.memory import give_back_device_memory, memory_errors

T = TypeVar("T")


def in_batches(work: Callable[[int, int], T], start: int, end: int, size: int) -> list[T]:
    """Work from start to end; on fewer at a time once the memory does not hold a batch.

    A search holds several copies of its images beside what a forward takes, so it can fail
    where a forward in pieces does not.

    Args:
        work: gets where a batch begins and where it ends.
        start: of the first batch.
        end: of the last batch.
        size: of a batch at most.

    Raises:
        torch.OutOfMemoryError: not even one fits.
    """
    done: list[T] = []
    while start < end:
        stop = min(start + size, end)
        fits = _attempt(work, start, stop, done)
        if fits:
            start = stop
        else:  # not inside ``except``, whose traceback holds on to the tensors
            size = (stop - start) // 2
            give_back_device_memory()
    return done


def fewer(work: Callable[[int, int], T], count: int) -> T:
    """Work on the first ``count``, or on half as many, and so on, until the memory holds them.

    For measurements that cannot be put together from pieces.

    Raises:
        torch.OutOfMemoryError: not even one fits.
    """
    done: list[T] = []
    while not _attempt(work, 0, count, done):
        count //= 2
        give_back_device_memory()
    return done[0]


def _attempt(work: Callable[[int, int], T], start: int, stop: int, done: list[T]) -> bool:
    try:
        with memory_errors():
            done.append(work(start, stop))
    except torch.OutOfMemoryError:
        if stop - start <= 1:
            raise
        return False
    return True
