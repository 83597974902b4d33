"""Where the engine computes, and with how many threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch

from engine.errors import SpecError
from engine.host.memory import is_out_of_memory, keep_freed_memory
from engine.host.processors import threads_asked_for, usable_processors

_AMPERE = 8
"""Compute capability of the first GPUs with matrix units for bfloat16."""

_VALUES_ON_CPU, _FEWEST, _MOST = 100 * 3 * 32 * 32, 16, 500
"""Pixel values that a CPU attacks together, and bounds on the number of images."""


_HINT = "Use auto, cpu, or one that this machine has."


def resolve(name: str) -> torch.device:
    """The device meant by ``auto``, ``cpu``, ``cuda``, ``cuda:1``...; an accelerator by number.

    ``auto`` is the current accelerator if that can do what attacks need, else the CPU.

    Raises:
        SpecError: not a device name, not present on this machine, or not able to.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None or _shortcoming(torch.device(accelerator)):
            return torch.device("cpu")
        return _numbered(torch.device(accelerator))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SpecError(f"There is no device {name!r}.", _HINT) from None
    shortcoming = _shortcoming(device)
    if shortcoming:
        raise SpecError(f"The device {name!r} cannot be used: {shortcoming}.", _HINT)
    return _numbered(device)


def _numbered(device: torch.device) -> torch.device:
    """One name of each device: ``cuda`` is the ``cuda:0`` that it stands for, ``cpu:0`` is cpu."""
    if device.type == "cpu":
        return torch.device("cpu")
    return torch.empty(0, device=device).device


def _shortcoming(device: torch.device) -> str:
    """Why attacks cannot compute on a device, in words; empty if they can.

    Tried and not asked: some know no float64 (Apple's GPUs, small ones of Intel), some hold
    nothing (``meta``), and drivers fail in ways of their own. A device that is merely full can.
    """
    try:
        _try_out(device)
    except Exception as error:  # noqa: BLE001  a driver may raise anything
        return "" if is_out_of_memory(error) else _first_sentence(error)
    return ""


def _try_out(device: torch.device) -> None:
    """A convolution with its gradient, distances in float64, and integers read back."""
    with torch.inference_mode(False), torch.enable_grad():
        image = torch.full((1, 1, 4, 4), 0.5, device=device, requires_grad=True)
        kernel = torch.ones(1, 1, 3, 3, device=device)
        logits = torch.nn.functional.conv2d(image, kernel).flatten(1)
        (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), image)
    float(gradient.double().square().sum().sqrt())
    int(torch.searchsorted(logits.detach()[0].argsort(), torch.ones_like(logits[0]).long()).sum())


def lost(error: Exception, device: torch.device) -> str:
    """Why a device is lost to this process after an error; empty if it still computes.

    A runtime says so of its own errors. Where a library raises in its stead, the device is tried.
    """
    if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
        return _first_sentence(error)
    return "" if device.type == "cpu" else _shortcoming(device)


def _first_sentence(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")


def found() -> tuple[tuple[str, str], ...]:
    """Name and description of the CPU and of every accelerator of this machine."""
    devices = [torch.device("cpu")]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        kind, count = torch.device(accelerator).type, torch.accelerator.device_count()
        numbered = [torch.device(kind, number) for number in range(count)]
        # Only the first is tried: that takes memory and seconds, and mostly they are alike.
        devices += numbered if numbered and not _shortcoming(numbered[0]) else []
    return tuple((str(device), describe(device)) for device in devices)


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
    naming = getattr(torch.get_device_module(device), "get_device_name", None)
    return f"{device} {naming(device)}" if naming is not None else str(device)


def prepare_host(reserve: int = 0) -> None:
    """Make the process ready for long computations: its threads, and its memory."""
    set_threads(reserve)
    keep_freed_memory()


def set_threads(reserve: int = 0) -> None:
    """Fix the number of threads: what the person asked for, else all processors but ``reserve``.

    Processors are those that this process may use. torch's default competes with itself on busy
    machines and slows small networks by two orders of magnitude, so it is always set.
    """
    asked = threads_asked_for(os.environ)
    torch.set_num_threads(asked or max(1, usable_processors() - reserve))
