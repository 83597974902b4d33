"""Packed files: as long as the accounting says, and the same model bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.costs.accounting import account
from engine.costs.packing import OVERHEAD, pack, payload_of, unpack
from engine.errors import ModelError
from engine.specs.choices import make_step

SHAPE = (1, 8, 8)
QUICK = {"epochs": 1, "batch_size": 256}
PRUNE = {"name": "magnitude", "sparsity": 0.9}
RECIPES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "pruned": [PRUNE],
    "hardly pruned": [{"name": "magnitude", "sparsity": 0.02}],
    "ptq w3": [{"name": "ptq", "bits": 3}],
    "ptq w5a4 inner": [{"name": "ptq", "bits": 5, "activation_bits": 4, "skip_first_last": True}],
    "pruned, ptq w8": [PRUNE, {"name": "ptq", "bits": 8}],
    "binary": [{"name": "qat", "method": "binary", "bits": 1, "first_last": "same", **QUICK}],
    "binarynet": [{"name": "qat", "method": "binary", "bits": 1, "activation_bits": 1, **QUICK}],
    "dorefa w3a2": [{"name": "qat", "method": "dorefa", "bits": 3, "activation_bits": 2, **QUICK}],
    "dorefa w1a1": [
        {"name": "qat", "method": "dorefa", "bits": 1, "activation_bits": 1, **QUICK},
        {"name": "finetune", **QUICK},
    ],
    "lsq w2a3": [{"name": "qat", "bits": 2, "activation_bits": 3, **QUICK}],
    "pruned, lsq w4": [PRUNE, {"name": "qat", "bits": 4, "steps": "channel", **QUICK}],
}
each = pytest.mark.parametrize("name", RECIPES)
CARD = catalog.model_card("digits-resnet")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(CARD)


@pytest.fixture(scope="module")
def variants(base: nn.Module) -> dict[str, compression.Variant]:
    digits = data.training_images("digits")
    context = compression.Context(calibration=digits.images[:256], training=digits)
    return {
        name: compression.apply(base, tuple(map(make_step, steps)), context)
        for name, steps in RECIPES.items()
    }


@each
def test_the_file_is_as_long_as_the_accounting_says(
    base: nn.Module, variants: dict[str, compression.Variant], name: str
) -> None:
    file = pack(variants[name], CARD)
    (head,) = struct.unpack("<I", file[4:8])
    packed = account(base, variants[name], SHAPE).packed_bytes
    assert len(file) == OVERHEAD + head + packed
    assert len(payload_of(file)) == packed


@each
def test_the_model_from_the_file_is_the_deployed_one_bit_by_bit(
    variants: dict[str, compression.Variant], name: str
) -> None:
    deployed, again = variants[name].deployed(), unpack(pack(variants[name], CARD))
    images = data.training_images("digits").images[:300]
    with torch.no_grad():
        assert torch.equal(deployed(images), again(images))
    floats = {k: t for k, t in deployed.state_dict().items() if t.is_floating_point()}
    found = again.state_dict()
    assert all(torch.equal(tensor, found[key]) for key, tensor in floats.items())
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_it_packs_a_stored_variant_too(
    variants: dict[str, compression.Variant], tmp_path: Any
) -> None:
    variant = variants["pruned, lsq w4"]
    compression.save(variant, CARD, tmp_path)
    assert payload_of(pack(compression.load(tmp_path), CARD)) == payload_of(pack(variant, CARD))


@pytest.mark.parametrize("damage", ["magic", "short", "long", "empty", "head"])
def test_a_damaged_file_is_refused(variants: dict[str, compression.Variant], damage: str) -> None:
    file = pack(variants["ptq w3"], CARD)
    bad = {
        "magic": b"XXXX" + file[4:],
        "short": file[:-1],
        "long": file + b"\0",
        "empty": b"",
        "head": file[:OVERHEAD] + b"x" + file[OVERHEAD + 1 :],
    }[damage]
    with pytest.raises(ModelError, match="packed file is damaged"):
        unpack(bad)
