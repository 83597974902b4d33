"""How long a forward pass of a variant takes beside one of its base model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from engine.evaluation.guard import arithmetic
from engine.host.device import describe
from engine.host.memory import memory_errors

BATCHES = (1, 64)
_WARM_UP = 2
_LEAST, _MOST = 3, 30
_SECONDS = 0.1
"""How long the passes of one batch size are repeated, within ``_LEAST`` and ``_MOST`` times."""
_SLOW = 5.0
"""Seconds of a first pass of both from which one more is enough: little disturbs so long a one."""


class Latency(BaseModel):
    """The median time of a forward pass in fp32, without TF32.

    Attributes:
        batch: images in a pass.
        milliseconds: of the variant's deployed model.
        base_milliseconds: of its base model, in turn with the other.
        repeats: passes of each.
        threads: of the processor.
        device: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    milliseconds: float
    base_milliseconds: float
    repeats: int
    threads: int
    device: str


def measure(
    model: nn.Module, base: nn.Module, image_shape: tuple[int, int, int], device: torch.device
) -> tuple[Latency, ...]:
    """Time a deployed model and its base in turn, so that both meet the same disturbances.

    A batch that memory does not hold is left out.

    Args:
        model: in eval mode on the device.
        base: likewise.
        image_shape: (C, H, W) of one image.
        device: where both are.
    """
    found: list[Latency] = []
    graphics = [device] if device.type == "cuda" else []
    # A model that draws random numbers must not depend on how many passes there was time for.
    fp32 = arithmetic(device, exact=True)
    with torch.random.fork_rng(graphics), torch.no_grad(), fp32:
        for batch in BATCHES:
            try:
                with memory_errors():
                    images = torch.full((batch, *image_shape), 0.5, device=device)
                    found.append(_timed(model, base, images))
            except torch.OutOfMemoryError:
                continue
    return tuple(found)


def _timed(model: nn.Module, base: nn.Module, images: torch.Tensor) -> Latency:
    slow = _pass(model, images) + _pass(base, images) > _SLOW
    for _ in range(0 if slow else _WARM_UP - 1):
        _pass(model, images)
        _pass(base, images)
    least = 1 if slow else _LEAST
    times: list[tuple[float, float]] = []
    while len(times) < least or (len(times) < _MOST and _undisturbed(times) < _SECONDS):
        times.append((_pass(model, images), _pass(base, images)))
    own, others = zip(*times, strict=True)
    return Latency(
        batch=len(images),
        milliseconds=1e3 * statistics.median(own),
        base_milliseconds=1e3 * statistics.median(others),
        repeats=len(times),
        threads=torch.get_num_threads(),
        device=describe(images.device),
    )


def _undisturbed(times: Sequence[tuple[float, float]]) -> float:
    """Seconds that so many passes of both take when nothing comes between.

    By the quickest, since on a busy machine a pass that had to wait would end the series, and
    with it the repeats that a median needs to leave that pass out.
    """
    return len(times) * min(map(sum, times))


def _pass(model: nn.Module, images: torch.Tensor) -> float:
    """Seconds of one forward pass, to the end of what it queued on the device."""
    own = images.clone()  # a model may write into them; not in the time that is taken
    if images.device.type != "cpu":
        torch.accelerator.synchronize(images.device)
    begun = time.perf_counter()
    model(own)
    if images.device.type != "cpu":
        torch.accelerator.synchronize(images.device)
    return time.perf_counter() - begun
