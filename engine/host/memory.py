"""Memory of the host: freed memory is kept while there is work, and one error where it ends."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Numbers of glibc's options (malloc.h)."""
_MOST = 2**31 - 1

_FULL = re.compile(
    r"DefaultCPUAllocator|bad_alloc|out of memory|OUT_OF_(?:DEVICE_|HOST_)?MEMORY"
    r"|ALLOC_FAILED|ALLOCATION_FAILED|AllocFailed|unable to find an engine to execute"
    r"|NOT_INITIALIZED when calling `?(?:cublas|cudnn|cusolverDn|cusparse|hipblas)Create",
    re.IGNORECASE,
)
"""What is said by the plain RuntimeError that torch raises where memory ends elsewhere than in
its allocator of an accelerator: in that of the CPU, in the runtime (``CUDA error: out of memory``),
in cuBLAS, cuDNN, cuSOLVER and their kin of other makers, which also find no engine that fits into
what is left, or no room for their own handle."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ended, of the host or of a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _FULL.search(str(error)) is not None


@contextmanager
def memory_errors() -> Iterator[None]:
    """Inside, running out of memory is ``torch.OutOfMemoryError`` wherever it happens.

    By itself torch raises that where its allocator of an accelerator ends. Its CPU allocator, the
    libraries and the runtime of a GPU raise a plain RuntimeError or ``torch.AcceleratorError``,
    and NumPy and Python raise MemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise torch.OutOfMemoryError(str(error) or "out of memory") from error


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


def give_back_device_memory() -> None:
    """Return to the driver what torch keeps of the memory of an accelerator."""
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _call(function: str, *numbers: int) -> None:
    if sys.platform == "linux":
        found = getattr(ctypes.CDLL(None), function, None)
        if found is not None:
            found(*numbers)
