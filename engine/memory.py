"""Memory of the host: freed memory is kept while there is work, and one error where it ends."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of glibc's options (malloc.h)."""
_MOST = 2**31 - 1

_CPU_WORDS = ("DefaultCPUAllocator", "bad_alloc")
"""What the plain RuntimeError says that torch raises where the memory of the CPU ends."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Inside, running out of memory is ``torch.OutOfMemoryError`` on every device.

    By itself torch raises that on accelerators only, its CPU allocator a plain RuntimeError,
    and NumPy and Python raise MemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except MemoryError as error:
        raise torch.OutOfMemoryError(str(error) or "out of memory") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _CPU_WORDS):
            raise
        raise torch.OutOfMemoryError(str(error)) from error


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, until ``give_back_freed_memory``.

    torch asks it for the memory of every tensor on a CPU. By default glibc returns large pieces
    to the system and fetches fresh pages, filled with zeros, for the next tensor: that made a
    forward of 500 small images twice as slow and a training step of a ResNet-18 a third slower.
    Does nothing where there is no glibc, or where the environment sets options of its own.
    """
    if not any(name.startswith("MALLOC_") for name in os.environ):
        _call("mallopt", _TRIM_THRESHOLD, _MOST)
        _call("mallopt", _MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Return to the system what was freed; for when there is nothing to do."""
    _call("malloc_trim", 0)


def _call(function: str, *numbers: int) -> None:
    if sys.platform == "linux":
        found = getattr(ctypes.CDLL(None), function, None)
        if found is not None:
            found(*numbers)
