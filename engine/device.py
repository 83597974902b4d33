"""Where the engine computes, and with how many threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch

from engine.errors import SpecError
from engine.memory import keep_freed_memory

_AMPERE = 8
"""Compute capability of the first GPUs with matrix units for bfloat16."""

_VALUES_ON_CPU, _FEWEST, _MOST = 100 * 3 * 32 * 32, 16, 500
"""Pixel values that a CPU attacks together, and bounds on the number of images."""


def resolve(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda:0``...

    Raises:
        SpecError: not a device name, or not present on this machine.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else torch.device(accelerator)
    hint = "Use auto, cpu, or one that this machine has."
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"There is no device {name!r}.", hint) from None
    try:
        torch.zeros(1, device=device).item()  # read back: "meta" can be made, but holds nothing
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise SpecError(f"The device {name!r} cannot be used: {reason}.", hint) from None
    return device


def fast_bf16(device: torch.device) -> bool:
    """Whether a device has matrix units for bfloat16; on CPUs only a measurement would tell."""
    if device.type != "cuda" or torch.version.hip:
        return False
    return torch.cuda.get_device_capability(device)[0] >= _AMPERE


def training_precision(asked: str, device: torch.device) -> str:
    """``fp32`` or ``bf16``: how a training computes that was asked for ``auto`` or one of both."""
    if asked == "auto":
        return "bf16" if fast_bf16(device) else "fp32"
    return asked


def batch_size(device: torch.device, shape: Sequence[int]) -> int:
    """Images of this shape (C, H, W) to attack together.

    Many fill an accelerator. On a CPU few let results be stored often, and small images need
    more than large ones for a step to be worth its overhead: 500 of 8x8, 100 of 3x32x32.
    """
    if device.type != "cpu":
        return 512
    return min(max(_VALUES_ON_CPU // math.prod(shape), _FEWEST), _MOST)


def describe(device: torch.device) -> str:
    """The device in words, for the status bar."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads != 1 else ''}"
    name = torch.get_device_module(device).get_device_name(device)
    return f"{device} {name}"


def prepare_host(reserve: int = 0) -> None:
    """Make the process ready for long computations: its threads, and its memory."""
    set_threads(reserve)
    keep_freed_memory()


def set_threads(reserve: int = 0) -> None:
    """Fix the number of threads: all processors but ``reserve``.

    torch's default competes with itself on busy machines and slows small networks by two
    orders of magnitude, so it is always set.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - reserve))
