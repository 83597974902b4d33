"""Running out of memory: one error for it everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
