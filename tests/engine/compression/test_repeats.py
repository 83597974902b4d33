"""What repeats over seeds share: steps of which studies say that they draw nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine import catalog, compression, data, models
from engine.specs.choices import draws, make_step

CERTAIN = [
    name
    for name in catalog.built_in("compressions")
    if name != "none" and not draws((make_step({"name": name}),))
]


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


def deployed(base: nn.Module, name: str, seed: int) -> dict[str, torch.Tensor]:
    indivisible = {"indivisible": "dense"} if name == "nm-sparsity" else {}
    images = data.training_images("digits").images[:64]
    context = compression.Context(images, seed=seed)
    step = make_step({"name": name, **indivisible})
    made = compression.apply(base, (step,), context)
    return made.deployed().state_dict()


@pytest.mark.parametrize("name", CERTAIN)
def test_another_seed_gives_the_same_variant(name: str, base: nn.Module) -> None:
    one, other = (deployed(base, name, seed) for seed in (0, 1))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_where_a_step_draws_another_seed_gives_another(base: nn.Module) -> None:
    step = make_step({"name": "ptq", "bits": 8, "activation_bits": 4})
    assert draws((step,))
    images = data.training_images("digits").images[:64]
    one, other = (
        compression.apply(base, (step,), compression.Context(images, seed=seed)).deployed()
        for seed in (0, 1)
    )
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    assert not all(torch.equal(*pair) for pair in pairs)
