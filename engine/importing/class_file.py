"""The Python file for a network that is not recognised: all but its forward, to be filled in."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ModelError
from engine.importing.fitting import COUNTERS, size
from engine.importing.own_class import Weights, read_weights
from engine.importing.read import LEGACY, SAFETENSORS, ZIPPED, State

_MOST_LISTED = 400
_WIDEST = 60

_TEXT = '''"""The network of {file}, for Crumple.

Fill in the class; its layers need the names and the shapes of the tensors in the file. Then

    crumple import {quoted} --class {own}:Net --trust-code

with the images to measure on loads the weights into it, all of them or none, and says by name what
does not fit. In the window: choose this file under "Python file".
"""

import torch
{imports}from torch import nn


class Net(nn.Module):
    # What the file holds{without}:
    #
{layers}

    def __init__(self) -> None:
        super().__init__()
        # self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        raise NotImplementedError("Write the layers of Net here.")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # images: (N, channels, height, width), values in [0, 1]; return logits, (N, {classes}).
        # If the network was trained on normalised images, Crumple finds out by which numbers.
        raise NotImplementedError("Write what Net computes here.")
'''

_MAKE = '''

def make() -> nn.Module:
    """The network with its weights, for a script of yours; Crumple loads them itself."""
    net = Net()
    state = {loaded}
    net.load_state_dict({stripped})
    return net.eval()
'''


def write_class(file: Path, to: Path, part: str | None = None) -> None:
    """Write a Python file for the network of a checkpoint.

    Args:
        file: the checkpoint; nothing in it is run.
        to: the Python file; one that is there is left as it is.
        part: the wrapper to take, where the checkpoint holds several state dicts.

    Raises:
        ModelError: the checkpoint is refused, or the file is there already or cannot be written.
    """
    if to.suffix != ".py":
        raise ModelError(f"{to} does not end in .py.", field="write-class")
    text = class_text(read_weights(file, part), to.name)
    try:
        with to.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise ModelError(
            f"There is a file {to} already.", "Choose another name.", field="write-class"
        ) from None
    except OSError as error:
        raise ModelError(
            f"The file {to} cannot be written: {error.strerror}.", field="write-class"
        ) from None


def class_text(weights: Weights, own: str) -> str:
    """The text of such a file; ``own`` is what it is called."""
    found, file = weights.found, weights.path.absolute()
    prefix = found.loading[1]
    of_safetensors = weights.format == SAFETENSORS
    text = _TEXT.format(
        imports="from safetensors.torch import load_file\n" if of_safetensors else "",
        file=_plain(weights.path.name),
        quoted=_plain(shlex.quote(str(file))),
        own=_plain(shlex.quote(own)),
        without=f", without the prefix {prefix!r}" if prefix else "",
        layers="\n".join(f"    # {line}".rstrip() for line in _lines(found.state)),
        classes=_classes(found.state),
    )
    as_saved = {f"{prefix}{key}" for key in found.state} == set(found.saved)
    if as_saved and weights.format in (ZIPPED, LEGACY, SAFETENSORS):
        stripped = f"{{key.removeprefix({prefix!r}): one for key, one in state.items()}}"
        text += _MAKE.format(loaded=_loaded(weights), stripped=stripped if prefix else "state")
    return text


def _plain(text: str) -> str:
    """Text that ends no string and no line of Python."""
    return text.encode("unicode_escape").decode("ascii").replace('"', '\\"')


def _loaded(weights: Weights) -> str:
    """Python for the state dict, without wrappers."""
    file = str(weights.path.absolute())
    if weights.format == SAFETENSORS:
        return f"load_file({file!r})"
    steps = weights.found.loading[0]
    return f"torch.load({file!r}, map_location='cpu', weights_only={weights.plain}){steps}"


def _classes(state: State) -> str:
    """Rows of what is last of the layers: as a rule the head."""
    heads = [one for key, one in state.items() if key.endswith("weight") and one.dim() == 2]
    return str(heads[-1].shape[0]) if heads else "classes"


def _lines(state: State) -> Iterator[str]:
    """The layers with what they may be, then their tensors; one block for each."""
    layers: dict[str, State] = {}
    for key, value in state.items():
        if key.endswith(COUNTERS):
            continue  # every BatchNorm has one
        name, _, last = key.rpartition(".")
        layers.setdefault(name or "self", {})[last] = value
    listed = dict(list(layers.items())[:_MOST_LISTED])
    width = min(max(map(len, listed)), _WIDEST)
    for name, tensors in listed.items():
        shapes = ", ".join(f"{last} {size(one.shape)}" for last, one in tensors.items())
        guess = _guess(tensors)
        line = f"{name:<{width}}  {guess}  <- {shapes}" if guess else f"{name:<{width}}  {shapes}"
        yield _plain(line)
    if len(layers) > len(listed):
        yield f"... and {len(layers) - len(listed)} more"


def _guess(tensors: State) -> str:
    """The layer that has such tensors, as far as they tell: not its stride, padding or groups."""
    weight = tensors.get("weight")
    bias = "" if "bias" in tensors else ", bias=False"
    if "running_mean" in tensors:
        return f"nn.BatchNorm2d({tensors['running_mean'].numel()})"
    if weight is None or set(tensors) - {"weight", "bias"}:
        return ""
    if weight.dim() == 2:
        return f"nn.Linear({weight.shape[1]}, {weight.shape[0]}{bias})"
    if weight.dim() in (3, 4, 5):
        kernel = tuple(weight.shape[2:])
        side = str(kernel[0]) if len(set(kernel)) == 1 else str(kernel)
        return f"nn.Conv{len(kernel)}d({weight.shape[1]}, {weight.shape[0]}, {side}{bias})"
    if weight.dim() == 1 and "bias" in tensors:
        return f"nn.LayerNorm({math.prod(weight.shape)})"
    return ""
