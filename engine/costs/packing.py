"""A variant as one file of really packed codes, and the deployed model from it, bit by bit.

The file: 4 bytes ``CRPK``, the length of the head as 4 bytes (little-endian), the head as JSON,
then the payload. The payload alone is as long as ``Accounting.packed_bytes`` says; what stands
before it describes the network (``OVERHEAD`` + head). In the payload, for each convolution and
linear layer in order of definition:

- ``codes``: all codes, b bits each; or ``bitmask``: one bit for each weight, set where it is not
  0, then the codes of these; whichever is shorter. Bits lie most significant first, and each
  part is filled up to whole bytes. A code is stored as its distance from the lowest; a weight that
  is not quantised as the 32 bits of its fp32 number.
- the scales of its codes, as fp32.

Then all other fp32 numbers of the deployed model, in the order of its state dict.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import nn

from engine.catalog import ModelCard
from engine.compression.files import Description, describe, skeleton
from engine.compression.layers import weight_layers
from engine.compression.parts.base import WeightQuantiser
from engine.compression.variant import Variant
from engine.errors import ModelError

_MAGIC = b"CRPK"
OVERHEAD = len(_MAGIC) + 4
"""Bytes before the head."""

_FP32 = 32
_DAMAGED = ("The packed file is damaged or not one of Crumple.", "Pack the variant again.")

Bits = npt.NDArray[np.uint8]


def pack(variant: Variant, card: ModelCard) -> bytes:
    """The packed file of a variant.

    Args:
        variant: what to pack.
        card: of its base model, for the architecture.
    """
    deployed, quantisers = variant.deployed(), variant.weight_quantisers
    forms, payload = [], b""
    for name, layer in weight_layers(deployed):
        form, content = _packed(layer.weight.detach(), quantisers.get(name))
        forms.append(form)
        payload += content
    for _, tensor in _rest(deployed):
        payload += _fp32(tensor)
    head = {
        "variant": describe(variant, card).model_dump(mode="json"),
        "forms": forms,
        "shapes": _shapes(deployed),
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return _MAGIC + struct.pack("<I", len(text)) + text + payload


def payload_of(file: bytes) -> bytes:
    """What stands behind the head.

    Raises:
        ModelError: it is no packed file.
    """
    return _split(file)[1]


def unpack(file: bytes) -> nn.Module:
    """The deployed model of a packed variant: plain weights, frozen, in eval mode.

    Raises:
        ModelError: the file is damaged or no packed file.
    """
    head, payload = _split(file)
    try:
        description = Description.model_validate(head["variant"])
        forms = [str(form) for form in head["forms"]]
        shapes = {name: tuple(map(int, shape)) for name, shape in head["shapes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError):
        raise ModelError(*_DAMAGED) from None
    live = skeleton(description, shapes)
    variant = Variant(live, description.recipe)
    deployed, quantisers = variant.deployed(), variant.weight_quantisers
    reader = _Reader(payload)
    layers = weight_layers(deployed)
    if len(layers) != len(forms) or head.get("shapes") != _shapes(deployed):
        raise ModelError(*_DAMAGED)
    for (name, layer), form in zip(layers, forms, strict=True):
        layer.weight.data.copy_(_unpacked(reader, layer.weight, quantisers.get(name), form))
    for _, tensor in _rest(deployed):
        tensor.data.copy_(reader.numbers(tuple(tensor.shape)))
    reader.end()
    return deployed


def _packed(weight: torch.Tensor, quantiser: WeightQuantiser | None) -> tuple[str, bytes]:
    """One layer: the shorter form, and its bytes with the scales."""
    alive = (weight.flatten() != 0).numpy()
    if quantiser is None:
        bits = np.unpackbits(np.frombuffer(_fp32(weight), np.uint8)).reshape(-1, _FP32)
        scales = b""
    else:
        codes = (quantiser.codes(weight) - quantiser.lowest).flatten().numpy().astype(np.uint8)
        bits = np.unpackbits(codes[:, None], axis=1)[:, 8 - quantiser.bits :]
        scales = _fp32(quantiser.scale)
    dense = np.packbits(bits).tobytes()
    sparse = np.packbits(alive).tobytes() + np.packbits(bits[alive]).tobytes()
    if len(sparse) < len(dense):
        return "bitmask", sparse + scales
    return "codes", dense + scales


def _unpacked(
    reader: _Reader, weight: torch.Tensor, quantiser: WeightQuantiser | None, form: str
) -> torch.Tensor:
    """One layer's weight; ``weight`` tells its shape."""
    count, width = weight.numel(), quantiser.bits if quantiser else _FP32
    alive = np.ones(count, np.bool_)
    if form == "bitmask":
        alive = reader.bits(count).astype(np.bool_)
    bits = reader.bits(int(alive.sum()) * width).reshape(-1, width)
    values = np.zeros(count, np.float32)
    if quantiser is None:
        values[alive] = np.frombuffer(np.packbits(bits).tobytes(), "<f4")
        return torch.from_numpy(values).reshape(weight.shape)
    codes = np.full(count, 0, np.float32)
    codes[alive] = bits @ (1 << np.arange(width - 1, -1, -1)) + quantiser.lowest
    quantiser.scale.data.copy_(reader.numbers(tuple(quantiser.scale.shape)))
    return quantiser.decode(torch.from_numpy(codes).reshape(weight.shape))


def _rest(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """All fp32 tensors but the weights of convolutions and linear layers."""
    own = {f"{name}.weight" for name, _ in weight_layers(model)}
    state = model.state_dict()
    return [(n, t) for n, t in state.items() if n not in own and t.is_floating_point()]


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def _fp32(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().astype("<f4").tobytes()


def _split(file: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        if file[: len(_MAGIC)] != _MAGIC:
            raise ValueError
        (length,) = struct.unpack("<I", file[len(_MAGIC) : OVERHEAD])
        head = json.loads(file[OVERHEAD : OVERHEAD + length])
    except (struct.error, ValueError):
        raise ModelError(*_DAMAGED) from None
    return head, file[OVERHEAD + length :]


@dataclass
class _Reader:
    """Takes a payload apart, from the front."""

    payload: bytes
    place: int = 0

    def bits(self, count: int) -> Bits:
        """The next bits, and what fills them up to whole bytes."""
        content = np.frombuffer(self._take(-(-count // 8)), np.uint8)
        return np.unpackbits(content, count=count)

    def numbers(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The next fp32 numbers."""
        content = np.frombuffer(self._take(4 * prod(shape)), "<f4").copy()
        return torch.from_numpy(content).reshape(shape)

    def end(self) -> None:
        """Nothing may be left."""
        if self.place != len(self.payload):
            raise ModelError(*_DAMAGED)

    def _take(self, count: int) -> bytes:
        self.place += count
        if self.place > len(self.payload):
            raise ModelError(*_DAMAGED)
        return self.payload[self.place - count : self.place]
