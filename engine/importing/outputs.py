"""From what a user's network gives to one row of logits per image, where the way is exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from engine.diagnostics.checks import check_probabilities
from engine.errors import ModelError
from engine.evaluation.guard import forked_rng, random_state
from engine.models.programs.program import changed_tensor

IMAGES = 16
"""Random images on which outputs are looked at, from black to full contrast."""

_DRAWS = 8
"""Forwards that tell whether a network is random."""
_FEW = 4
"""Images that are enough where each is asked several times; large networks take seconds."""

_TINY = torch.finfo(torch.float32).tiny

Read = Callable[[Any], Any]


class Taken(nn.Module):
    """A network with a part of its output, one row per image.

    Args:
        inner: the user's network.
        read: from its output to a tensor whose rows are images.
        rows: reshape what is not (N, K).
    """

    def __init__(self, inner: nn.Module, read: Read, *, rows: bool) -> None:
        super().__init__()
        self.inner, self.read, self.rows = inner, read, rows

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) outputs."""
        found: Tensor = self.read(self.inner(images))
        return found.reshape(images.shape[0], -1) if self.rows else found


class TwoClasses(nn.Module):
    """A network of one output as a classifier: logits (0, z), whose softmax is the sigmoid of z.

    Args:
        inner: from images to (N, 1): z, or probabilities p = sigmoid(z) of class 1.
        probabilities: whether p; the logits are (log(1 - p), log p) then, the same two apart.
    """

    def __init__(self, inner: nn.Module, *, probabilities: bool) -> None:
        super().__init__()
        self.inner, self.probabilities = inner, probabilities

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, 2) logits."""
        found: Tensor = self.inner(images)
        if self.probabilities:
            return torch.log(torch.cat([1 - found, found], dim=1) + _TINY)
        return torch.cat([torch.zeros_like(found), found], dim=1)


class LogOf(nn.Module):
    """A network of probabilities: their logarithms are logits whose softmax they are."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        return torch.log(self.inner(images) + _TINY)


def sample(shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
    """(``IMAGES``, C, H, W) random images in [0, 1], each of another contrast."""
    noise = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    return (noise * torch.linspace(0, 1, IMAGES).view(-1, 1, 1, 1)).to(dtype)


def answers(network: nn.Module, images: Tensor, seed: int = 0) -> Any:
    """What a network gives for a batch."""
    with forked_rng(seed), torch.no_grad():
        return network(images.clone())


def random(network: nn.Module, images: Tensor) -> bool:
    """Whether forwards of the same batch differ."""
    few = images[-_FEW:]
    draws = [_numbers(answers(network, few, seed)) for seed in range(_DRAWS)]
    largest = max(float(one.abs().max()) for one in draws)
    return any(float((one - draws[0]).abs().max()) > 1e-4 * largest for one in draws)


def check_repeatable(network: nn.Module, images: Tensor, name: str) -> None:
    """Refuse what no program keeps: draws of other generators than torch's, and a memory.

    Raises:
        ModelError: equal states of torch's global generator give other outputs, numbers of numpy
            or ``random`` are drawn, or a forward in eval mode changes a tensor of the network.
    """
    few = images[-_FEW:]
    before = {key: one.clone() for key, one in network.state_dict().items()}
    with forked_rng(0), torch.no_grad():
        _, _, numpy, python = random_state()
        network(few.clone())
        _, _, numpy_after, python_after = random_state()
    changed = changed_tensor(before, network)
    if changed is not None:
        raise ModelError(
            f"The network of {name} changes {changed!r} in every forward in eval mode, so what it "
            "says of an image hangs on what it was asked before.",
            "Leave that out of its forward where self.training is False; BatchNorm that forward "
            "puts into training mode belongs in eval mode.",
        )
    drawn = python != python_after or any(
        not np.array_equal(one, other) for one, other in zip(numpy, numpy_after, strict=True)
    )
    one, other = (_numbers(answers(network, few)) for _ in range(2))
    if drawn or not torch.allclose(one, other, 1e-4, 1e-5):
        raise foreign_randomness(name)


def foreign_randomness(name: str) -> ModelError:
    """The error for a network whose draws a program would not keep."""
    return ModelError(
        f"The network of {name} is random, by numbers that do not come from torch's global "
        "generator: an exported program would keep one draw for ever.",
        "Draw them by torch.rand in forward, or attack the network from Python: run_attack "
        "draws anew in each forward.",
    )


def _numbers(output: Any) -> Tensor:
    tensors = [one for one in tree_leaves(output) if isinstance(one, Tensor)]
    return torch.cat([one.flatten().double().nan_to_num() for one in tensors] or [torch.zeros(1)])


def one_row_each(network: nn.Module, images: Tensor, name: str) -> tuple[nn.Module, list[str]]:
    """The network with one row of numbers per image, and what had to be done for it.

    Raises:
        ModelError: it gives several things, or none that has a row for each image.
    """
    together = answers(network, images)
    read, what = _reading(together, name)
    batch, single = read(together), read(answers(network, images[:1]))
    if batch.numel() % IMAGES or batch.numel() != IMAGES * single.numel() or not batch.numel():
        raise _several(
            name,
            f"outputs of the shape {_shape(batch)} for {IMAGES} images and {_shape(single)} for "
            "one, which are no rows of images",
            "return logits of the shape (images, classes)",
        )
    if not batch.is_floating_point():
        kind = str(batch.dtype).removeprefix("torch.")
        raise _several(name, f"{kind} numbers, which are no logits", "return logits, not argmax")
    if batch.isnan().any():
        bad = sum(int((~one.isfinite()).sum()) for one in network.parameters())
        raise ModelError(
            f"The network of {name} gives NaN (not a number) for images in [0, 1]; "
            f"{bad:,} of its parameters are not finite.",
            "Repair or retrain it: of NaN no class can be read.",
        )
    width = batch.numel() // IMAGES
    if any(size > 1 for size in batch.shape[2:]):
        raise _several(
            name,
            f"outputs of the shape {_shape(batch)}, a row for every pixel",
            "return logits.mean((2, 3))",
        )
    rows = tuple(batch.shape) != (IMAGES, width) or tuple(single.shape) != (1, width)
    notes = [what] if what else []
    if rows:
        notes.append(f"Its outputs of the shape {_shape(single)} for one image became one row.")
    if isinstance(together, Tensor) and not rows:
        return network, []
    return Taken(network, read, rows=rows).eval(), notes


def as_logits(
    network: nn.Module, images: Tensor, *, probabilities: bool
) -> tuple[nn.Module, list[str]]:
    """A network of (N, K) outputs as one of logits, and what had to be done for it.

    One output becomes two classes; probabilities become their logarithms. What is between 0 and 1
    on images far outside of [0, 1] too is a probability.

    Args:
        network: from images to outputs.
        images: of ``sample``.
        probabilities: whether the outputs may be such.
    """
    few = images[-_FEW:]
    loud = torch.cat([few, 1000 * (few - 0.5), -1000 * few])
    try:
        found: Tensor = answers(network, loud).float()
    except IndexError:  # pixels are looked up in a table, which ends at 0 and 1
        found = answers(network, few).float()
    if found.shape[1] == 1:
        shares = probabilities and bool(((found >= 0) & (found <= 1)).all())
        kind = "a probability p; its logits are (log(1 - p), log p)"
        if not shares:
            kind = "the logit z of class 1; its logits are (0, z)"
        note = f"Its one output was taken as {kind}."
        return TwoClasses(network, probabilities=shares), [note]
    if probabilities and check_probabilities(found):
        note = "Its outputs are probabilities; their logarithms were taken as logits."
        return LogOf(network), [note]
    # Inside of a plain module, as torch.export would interpret a bare graph node by node.
    return Taken(network, lambda output: output, rows=False), []


def _reading(output: Any, name: str) -> tuple[Read, str]:
    """How to take the logits out of what a network returns, and what to say of it."""
    if isinstance(output, Tensor):
        return lambda found: found, ""
    if isinstance(output, Mapping):
        names = [key for key, value in output.items() if _rows(value)]
        key = "logits" if "logits" in names else names[0] if len(names) == 1 else None
        if key is not None:
            return lambda found: found[key], f"Of its outputs {key!r} was taken as logits."
        known = ", ".join(f"{one!r} {_shape(output[one])}" for one in output)
        raise _several(name, f"a dictionary of {known}", "return net(images)['KEY']")
    if _rows(getattr(output, "logits", None)):
        return lambda found: found.logits, "Of its outputs 'logits' was taken."
    if isinstance(output, tuple | list):
        places = [place for place, value in enumerate(output) if _rows(value)]
        if len(places) == 1:
            (place,) = places
            note = f"Of its {len(output)} outputs the one at {place} was taken as logits."
            return lambda found: found[place], note if len(output) > 1 else ""
        known = ", ".join(map(_shape, output))
        raise _several(name, f"a {type(output).__name__} of {known}", "return net(images)[NUMBER]")
    raise _several(name, f"a {type(output).__name__}", "return a tensor of logits")


def _rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() % IMAGES == 0


def _shape(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"({', '.join(map(str, value.shape))})"


def _several(name: str, what: str, line: str) -> ModelError:
    return ModelError(
        f"The network of {name} gives {what}.",
        f"Return in make a network whose forward ends in: {line}.",
    )
