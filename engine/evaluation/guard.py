"""Leave no trace: modes, gradients switches, random states and backend flags come back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved(*modules: nn.Module, seed: int) -> Iterator[None]:
    """Put the modules into frozen eval mode and give everything back at the end.

    Inside, the global generators are seeded, so models with a random forward repeat;
    gradients can be taken even if the caller is inside ``no_grad`` or ``inference_mode``; and
    what is made without a type is float32, whatever the caller's default.
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    switches = [(each, each.requires_grad) for module in modules for each in module.parameters()]
    try:
        # Flags are set directly: train() of user models may do more than set them.
        for part, _ in modes:
            part.training = False
        for parameter, _ in switches:
            parameter.requires_grad_(False)
        with (
            forked_rng(seed),
            torch.inference_mode(False),
            torch.enable_grad(),
            default_float32(),
        ):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, switch in switches:
            parameter.requires_grad_(switch)


@contextmanager
def default_float32() -> Iterator[None]:
    """Tensors made inside without a type are float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def forked_rng(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and random inside, restore them after."""
    accelerator = _started_accelerator()
    saved = random_state()
    try:
        torch.default_generator.manual_seed(seed)
        if accelerator is not None:
            seed_all = getattr(accelerator, "manual_seed_all", None)  # Apple's has one device
            (seed_all or accelerator.manual_seed)(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        of_torch, of_accelerator, of_numpy, of_python = saved
        torch.set_rng_state(of_torch)
        for index, state in enumerate(of_accelerator):
            accelerator.set_rng_state(state, index)
        np.random.set_state(of_numpy)
        random.setstate(of_python)


RandomState = tuple[torch.Tensor, list[torch.Tensor], Any, Any]
"""Of the global generators: torch's, those of the accelerators, numpy's and Python's."""


def random_state() -> RandomState:
    """Where the global generators stand."""
    accelerator = _started_accelerator()
    states = (
        [accelerator.get_rng_state(index) for index in range(accelerator.device_count())]
        if accelerator is not None
        else []
    )
    return torch.get_rng_state(), states, np.random.get_state(), random.getstate()


def _started_accelerator() -> Any:
    """The module of torch for the accelerator, ``torch.cuda`` for example, if it has started.

    One that has not started has no state to save, and asking for it would start it.
    """
    device = torch.accelerator.current_accelerator()
    if device is None:
        return None
    module = torch.get_device_module(device)
    started = getattr(module, "is_initialized", module.is_available)
    return module if started() else None


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
            if exact:
                stack.enter_context(_exact_products())
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products in IEEE fp32, which is a switch of its own beside that of convolutions."""
    matmul = torch.backends.cuda.matmul
    try:
        # By the older of the two switches, unless the caller used the newer one, which is then
        # the only one that may be asked.
        name, exact = "allow_tf32", False  # type: tuple[str, bool | str]
        before = matmul.allow_tf32
    except RuntimeError:
        name, exact = "fp32_precision", "ieee"
        before = matmul.fp32_precision
    if before == exact:  # nothing is written, so that nothing can come back otherwise
        yield
        return
    setattr(matmul, name, exact)
    try:
        yield
    finally:
        setattr(matmul, name, before)


def device_of(module: nn.Module, default: torch.device) -> torch.device:
    """Where a module computes: its first parameter or buffer, else the default."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return default
