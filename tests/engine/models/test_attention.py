"""Attention: every matrix of it is compressed, counted and stored like those of other layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from engine import catalog, compression
from engine.catalog.models.cards import ModelCard
from engine.compression import Context, Variant
from engine.compression.layers import weight_layers
from engine.costs.accounting import account
from engine.models.attention import Attention, open_attention
from engine.specs.choices import make_step
from tests.helpers.checkpoints import ask

SHAPE = (3, 8, 8)
WIDTH, TOKENS = 8, 5


def transformer() -> nn.Module:
    torch.manual_seed(0)
    net = VisionTransformer(8, 4, 2, 2, WIDTH, 16, num_classes=3)
    nn.init.normal_(net.heads.head.weight)
    return net.eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def compressed(*tables: dict[str, Any]) -> Variant:
    return compression.apply(transformer(), tuple(map(make_step, tables)), Context(shape=SHAPE))


def matrices(net: nn.Module) -> int:
    """By hand: the patches, of each block four projections and two layers, the head, positions."""
    block = 4 * WIDTH * WIDTH + 2 * WIDTH * 16
    return 3 * 16 * WIDTH + 2 * block + 3 * WIDTH + TOKENS * WIDTH


# --- the same function ---


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_it_gives_what_the_module_of_torch_gives(
    batch_first: bool, bias: bool, weights: bool
) -> None:
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(8, 2, bias=bias, batch_first=batch_first).double().eval()
    x, other = torch.rand(3, 5, 8).double(), torch.rand(3, 5, 8).double()
    mask = torch.zeros(5, 5, dtype=torch.bool).index_fill(1, torch.tensor([2]), True)
    for given, masked in (((x, x, x), None), ((x, other, other), None), ((x, x, x), mask)):
        if masked is not None and not batch_first:
            masked = torch.zeros(3, 3, dtype=torch.bool)
        asked = {"need_weights": weights, "attn_mask": masked}
        expected, found = whole(*given, **asked), Attention(whole)(*given, **asked)
        for one, two in zip(expected, found, strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-14)


def test_a_network_keeps_its_tensors_and_its_answers() -> None:
    net, images_ = transformer().double(), images().double()  # rounding hides nothing there
    before, expected = sum(p.numel() for p in net.parameters()), ask(net, images_)
    opened = open_attention(net)
    assert sum(p.numel() for p in opened.parameters()) == before
    torch.testing.assert_close(ask(opened, images_), expected, rtol=1e-12, atol=1e-13)
    assert not any(isinstance(one, nn.MultiheadAttention) for one in opened.modules())
    assert open_attention(opened) is opened


def test_dropout_of_attention_acts_in_training_alone() -> None:
    whole = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    opened, x = Attention(whole), torch.rand(2, 5, 8)
    once, twice = (opened.train()(x, x, x, need_weights=False)[0] for _ in range(2))
    assert not torch.equal(once, twice)
    once, twice = (opened.eval()(x, x, x, need_weights=False)[0] for _ in range(2))
    assert torch.equal(once, twice)


# --- steps reach it ---


def test_masks_and_quantisers_reach_every_matrix_and_the_rest_is_counted() -> None:
    whole = matrices(transformer())
    inner = whole - TOKENS * WIDTH
    pruned = account(transformer(), compressed({"name": "magnitude", "sparsity": 0.5}), SHAPE)
    assert (pruned.weights, pruned.bare_weights) == (whole, TOKENS * WIDTH)
    assert pruned.sparsity == pytest.approx(0.5 * inner / whole, abs=1 / whole)
    coded = account(transformer(), compressed({"name": "ptq", "bits": 4}), SHAPE)
    assert coded.weight_bits == pytest.approx((4 * inner + 32 * TOKENS * WIDTH) / whole)
    names = [layer.name for layer in coded.layers]
    assert sum("in_proj" in name for name in names) == 2
    assert all(layer.macs for layer in coded.layers)
    products = 2 * 2 * TOKENS * TOKENS * WIDTH  # two blocks, two products without a weight
    assert coded.other_macs == products


@pytest.mark.parametrize(
    "table",
    [
        {"name": "magnitude", "sparsity": 0.5},
        {"name": "nm-sparsity", "indivisible": "dense"},
        {"name": "ptq", "bits": 3},
        {"name": "hydra", "density": 0.3, "prune_epochs": 0, "finetune_epochs": 0},
    ],
)
def test_every_matrix_in_a_layer_changes_and_comes_back(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = compressed(table)
    before = dict(weight_layers(open_attention(transformer())))
    for name, layer in weight_layers(variant.deployed()):
        if table["name"] != "nm-sparsity" or layer.weight.shape[1] % 4 == 0:
            assert not torch.equal(layer.weight, before[name].weight), name
    monkeypatch.setattr("engine.compression.files.build", lambda *_: transformer())
    card = card_of_a_transformer()
    compression.save(variant, card, tmp_path)
    again = compression.load(tmp_path)
    assert torch.equal(ask(again.deployed(), images()), ask(variant.deployed(), images()))


def card_of_a_transformer() -> ModelCard:
    bundled = catalog.model_card("digits-resnet")
    form = {"architecture": "torchvision.vit_b_16", "shape": SHAPE, "classes": 3}
    return bundled.model_copy(update=form)


def test_its_variants_have_keys_of_their_own() -> None:
    """What older versions made of attention had fewer weights than it said."""
    card = card_of_a_transformer()
    assert card.basis != card.fingerprint
    assert (
        catalog.model_card("digits-resnet").basis == catalog.model_card("digits-resnet").fingerprint
    )
