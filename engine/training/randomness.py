"""What layers draw while a network is trained: dropout and stochastic depth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SEEDS = 2**63 - 1


@contextmanager
def own_draws(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Inside, layers draw numbers that follow from a generator; outside nothing has changed.

    Such layers know torch's global generators only, and any forward pass may draw, with or
    without a module for it. So these are seeded for a while and put back. The seed comes from a
    copy: the generator stays where it is, and of a network that draws nothing not a bit changes.

    Args:
        generator: on the CPU; its state decides what is drawn.
        device: where the network is.
    """
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    seed = int(torch.randint(_SEEDS, (), generator=copied))
    devices = [] if device.type == "cpu" else [device]
    kind = device.type if devices else None
    with torch.random.fork_rng(devices, device_type=kind):
        torch.default_generator.manual_seed(seed)
        # Not torch.manual_seed: it seeds every device, those included that are not put back.
        for one in devices:
            state = torch.Generator(one).manual_seed(seed).get_state()
            torch.get_device_module(one).set_rng_state(state, one)
        yield
