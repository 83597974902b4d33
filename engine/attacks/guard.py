"""Leave no trace: modes, gradients switches, random states and backend flags come back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved(*modules: nn.Module, seed: int) -> Iterator[None]:
    """Put the modules into frozen eval mode and give everything back at the end.

    Inside, the global generators are seeded, so models with a random forward repeat;
    gradients can be taken even if the caller is inside ``no_grad`` or ``inference_mode``.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    switches = [(each, each.requires_grad) for module in modules for each in module.parameters()]
    try:
        # Flags are set directly: train() of user models may do more than set them.
        for part, _ in modes:
            part.training = False
        for parameter, _ in switches:
            parameter.requires_grad_(False)
        with forked_rng(seed), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, switch in switches:
            parameter.requires_grad_(switch)


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and random inside, restore them after."""
    # An uninitialised CUDA has no state to save, and asking for it would start CUDA.
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    saved = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    saved_numpy, saved_python = np.random.get_state(), random.getstate()
    try:
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(saved[0])
        if cuda:
            torch.cuda.set_rng_state_all(saved[1])
        np.random.set_state(saved_numpy)
        random.setstate(saved_python)


@contextmanager
def arithmetic(device: torch.device, *, bf16: bool = False, exact: bool = False) -> Iterator[None]:
    """Fix the precision of what runs inside, whatever autocast the caller is in.

    Args:
        device: where the model computes.
        bf16: run under bfloat16 autocast.
        exact: no TF32, so that fp32 on a GPU means fp32.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16))
        if device.type == "cuda":
            cudnn = torch.backends.cudnn
            stack.enter_context(
                cudnn.flags(
                    enabled=cudnn.enabled,
                    benchmark=False,
                    deterministic=True,
                    allow_tf32=cudnn.allow_tf32 and not exact,
                )
            )
        yield


def device_of(module: nn.Module, default: torch.device) -> torch.device:
    """Where a module computes: its first parameter or buffer, else the default."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return default
