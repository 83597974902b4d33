"""Filter pruning and N:M sparsity: exact counts, the right weights, patterns that last."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from engine import catalog, compression, data, models
from engine.compression.layers import weight_layers
from engine.compression.parts.mask import Mask
from engine.costs.accounting import account
from engine.errors import SpecError
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec

Table = dict[str, Any]

RECIPES: dict[str, list[Table]] = {
    "filter": [{"name": "filter", "ratio": 0.3}],
    "filter global": [{"name": "filter", "ratio": 0.3, "scope": "global", "criterion": "l2"}],
    "2:4": [{"name": "nm-sparsity", "indivisible": "dense"}],
    "1:8": [{"name": "nm-sparsity", "n": 1, "m": 8, "indivisible": "dense"}],
    "all": [
        {"name": "filter", "ratio": 0.25},
        {"name": "nm-sparsity", "indivisible": "dense"},
        {"name": "magnitude", "sparsity": 0.8},
        {"name": "ptq", "bits": 4, "activation_bits": 8},
    ],
}
each_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(catalog.model_card("digits-resnet"))


@pytest.fixture(scope="module")
def context() -> compression.Context:
    return compression.Context(data.training_images("digits").images[:64], seed=0)


@pytest.fixture(scope="module")
def images() -> data.ImageSet:
    return data.load(DatasetSpec(name="digits", limit=50), seed=0)


def apply(
    model: nn.Module, *tables: Table, context: compression.Context | None = None
) -> compression.Variant:
    steps = tuple(map(make_step, tables))
    return compression.apply(model, steps, context or compression.Context())


def arrays(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    return {name: layer.weight.detach().numpy() for name, layer in weight_layers(model)}


# --- filter ---


def lost_filters(
    weights: dict[str, NDArray[np.float32]], ratio: float, order: int, scope: str
) -> set[tuple[str, int]]:
    """By sorting a list of all filters, the strongest of each layer left out."""
    ranked: list[tuple[float, str, int]] = []
    for name, weight in weights.items():
        norms = [np.linalg.norm(row.ravel().astype(np.float64), order) for row in weight]
        found = sorted((norm, row) for row, norm in enumerate(norms))
        if scope == "layer":
            found = found[: min(round(ratio * len(norms)), len(norms) - 1)]
        else:
            found = found[:-1]
        ranked += [(float(norm), name, row) for norm, row in found]
    if scope == "global":
        ranked = sorted(ranked)[: round(ratio * sum(map(len, weights.values())))]
    return {(name, row) for _, name, row in ranked}


@pytest.mark.parametrize(
    ("ratio", "criterion", "scope"),
    list(product([0.0, 0.3, 0.5, 0.99], ["l1", "l2"], ["layer", "global"])),
)
def test_the_filters_of_smallest_norm_go(
    base: nn.Module, ratio: float, criterion: str, scope: str
) -> None:
    step = {"name": "filter", "ratio": ratio, "criterion": criterion, "scope": scope}
    before, after = arrays(base), arrays(apply(base, step).deployed())
    classifier = list(before)[-1]
    assert np.array_equal(before.pop(classifier), after.pop(classifier))
    lost = lost_filters(before, ratio, int(criterion[1]), scope)
    assert bool(lost) == bool(ratio)
    for name, weight in before.items():
        for row, one in enumerate(weight):
            assert np.array_equal(after[name][row], 0 * one if (name, row) in lost else one)


def test_filters_that_go_are_as_many_as_asked(base: nn.Module) -> None:
    layered = arrays(apply(base, {"name": "filter", "ratio": 0.3}).deployed())
    gone = [int((~w.reshape(len(w), -1).any(1)).sum()) for w in layered.values()]
    assert gone == [round(0.3 * len(w)) for w in list(layered.values())[:-1]] + [0]
    step = {"name": "filter", "ratio": 0.3, "scope": "global"}
    together = arrays(apply(base, step).deployed())
    count = sum(int((~w.reshape(len(w), -1).any(1)).sum()) for w in together.values())
    assert count == round(0.3 * sum(len(w) for w in list(together.values())[:-1]))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_of_equal_filters_the_earlier_go_and_one_always_stays(scope: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 1), nn.Flatten(), nn.Linear(3, 2))
    for one in (model[0], model[1]):
        one.weight.data.fill_(-0.5)
    model[1].weight.data[1] = 9.0

    def rows(ratio: float) -> list[list[bool]]:
        found = arrays(apply(model, {"name": "filter", "ratio": ratio, "scope": scope}).deployed())
        return [found[name].reshape(len(found[name]), -1).any(1).tolist() for name in ("0", "1")]

    half = {  # 2 of 4 and, rounded to even, 2 of 3; or 4 of 7
        "layer": [[False, False, True, True], [False, True, False]],
        "global": [[False, False, False, True], [False, True, True]],
    }
    assert rows(0.5) == half[scope]
    assert rows(0.99) == [[False, False, False, True], [False, True, False]]


def test_the_last_layer_is_left_alone_even_if_it_is_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 10, 1), nn.Flatten())
    found = arrays(apply(model, {"name": "filter", "ratio": 0.5}).deployed())
    assert np.array_equal(found["1"], model[1].weight.detach().numpy())
    assert np.count_nonzero(found["0"]) == 2


def test_without_a_convolution_filter_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(SpecError, match="filter: this model has no convolution") as caught:
        apply(model, {"name": "filter"})
    assert "magnitude" in caught.value.hint


# --- N:M ---


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (3, 4), (2, 8), (5, 16)])
def test_exactly_the_n_largest_of_every_m_stay(base: nn.Module, n: int, m: int) -> None:
    step = {"name": "nm-sparsity", "n": n, "m": m, "indivisible": "dense"}
    before, after = arrays(base), arrays(apply(base, step).deployed())
    assert np.array_equal(before["0"], after["0"])  # one input channel
    for name in list(before)[1:]:
        old = np.moveaxis(before[name], 1, -1).reshape(-1, m)
        new = np.moveaxis(after[name], 1, -1).reshape(-1, m)
        order = np.argsort(np.abs(old), axis=1, kind="stable")
        expected = old.copy()
        np.put_along_axis(expected, order[:, : m - n], 0, axis=1)
        assert np.array_equal(new, expected)
        assert (np.count_nonzero(new, axis=1) == n).all()


def test_of_equal_weights_the_earlier_go() -> None:
    model = nn.Sequential(nn.Linear(8, 1, bias=False))
    model[0].weight.data.fill_(-1.0)
    weight = apply(model, {"name": "nm-sparsity"}).deployed()[0].weight
    assert weight.tolist() == [[0, 0, -1, -1, 0, 0, -1, -1]]
    assert not torch.signbit(weight[weight == 0]).any()


@pytest.mark.parametrize(
    ("model", "table", "words"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)),
            {},
            ["layer '0' has 3 inputs", "m = 4", "indivisible to 'dense'"],
        ),
        (
            nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.Linear(4, 2)),
            {},
            ["2 inputs per group", "m = 4"],
        ),
        (
            nn.Sequential(nn.Conv2d(3, 6, 3), nn.Linear(6, 2)),
            {"indivisible": "dense"},
            ["2 of 2 layers", "choose another m"],
        ),
    ],
)
def test_layers_that_do_not_divide_are_refused(
    model: nn.Module, table: Table, words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        apply(model, {"name": "nm-sparsity", **table})
    text = f"{caught.value} {caught.value.hint}"
    assert all(word in text for word in words), text


@pytest.mark.parametrize(("n", "m"), [(4, 4), (8, 4), (2, 1), (0, 4)])
def test_impossible_patterns_are_refused(n: int, m: int) -> None:
    with pytest.raises(SpecError, match=r"nm-sparsity.*(takes an n below m|greater than)"):
        make_step({"name": "nm-sparsity", "n": n, "m": m})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [{"name": "magnitude", "sparsity": 0.6}]),
        ([], [{"name": "filter", "ratio": 0.5}]),
        ([], [{"name": "ptq", "bits": 4}]),
        ([{"name": "magnitude", "sparsity": 0.6}], []),
        ([{"name": "filter", "ratio": 0.5}], []),
    ],
)
def test_the_pattern_holds_beside_every_other_step(
    base: nn.Module, before: list[Table], after: list[Table]
) -> None:
    variant = apply(base, *before, *RECIPES["2:4"], *after)
    for name, weight in arrays(variant.deployed()).items():
        if name != "0":
            groups = np.moveaxis(weight, 1, -1).reshape(-1, 4)
            assert (np.count_nonzero(groups, axis=1) <= 2).all()


# --- recipes ---


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([{"name": "nm-sparsity"}, {"name": "nm-sparsity"}], True),
        ([{"name": "nm-sparsity"}, {"name": "nm-sparsity", "n": 4, "m": 8}], True),
        ([{"name": "nm-sparsity"}, {"name": "nm-sparsity", "n": 3, "m": 8}], False),
        ([{"name": "nm-sparsity"}, {"name": "nm-sparsity", "n": 1}], False),
        ([{"name": "nm-sparsity", "n": 4, "m": 8}, {"name": "nm-sparsity"}], False),
        ([{"name": "filter", "ratio": 0.5}, {"name": "filter", "ratio": 0.5}], True),
        ([{"name": "filter", "ratio": 0.5}, {"name": "filter", "ratio": 0.6}], False),
        ([{"name": "filter"}, {"name": "filter", "ratio": 0.2, "criterion": "l2"}], False),
        ([{"name": "filter"}, {"name": "filter", "ratio": 0.2, "scope": "global"}], False),
        ([{"name": "magnitude"}, {"name": "magnitude", "sparsity": 0.3}], True),
        ([{"name": "magnitude"}, {"name": "magnitude", "scope": "layer"}], False),
        ([{"name": "filter", "ratio": 0.5}, {"name": "magnitude", "sparsity": 0.5}], False),
    ],
)
def test_a_step_that_can_remove_nothing_is_refused(
    base: nn.Module, steps: list[Table], refused: bool
) -> None:
    steps = [{**s, "indivisible": "dense"} if s["name"] == "nm-sparsity" else s for s in steps]
    if refused:
        with pytest.raises(SpecError, match="removes nothing"):
            apply(base, *steps)
        once = arrays(apply(base, steps[0]).deployed())
        live = apply(base, steps[0]).live  # the reason is true
        again = arrays(apply(live, steps[1]).deployed())
        assert all(np.array_equal(once[name], again[name]) for name in once)
    else:
        apply(base, *steps)


# --- variants ---


@each_recipe
def test_view_agrees_and_a_saved_variant_gives_the_same_bits(
    name: str,
    base: nn.Module,
    context: compression.Context,
    images: data.ImageSet,
    tmp_path: Path,
) -> None:
    variant = apply(base, *RECIPES[name], context=context)
    compression.check_agreement(variant.deployed(), variant.attack_view(), images.images)
    compression.save(variant, catalog.model_card("digits-resnet"), tmp_path)
    again = compression.load(tmp_path)
    assert again.recipe == variant.recipe
    with torch.no_grad():
        for model in (again.live, again.deployed()):
            assert torch.equal(model(images.images), variant.deployed()(images.images))


@pytest.mark.parametrize("name", ["filter", "2:4"])
def test_gradients_pass_where_the_mask_lets_them_and_zeros_survive_training(
    name: str, base: nn.Module, images: data.ImageSet
) -> None:
    variant = apply(base, *RECIPES[name])
    deployed = variant.deployed().requires_grad_(True)

    def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
        model.zero_grad()
        F.cross_entropy(model(images.images), images.labels).backward()
        return {k: p.grad for k, p in model.named_parameters() if p.grad is not None}

    plain, masked = gradients(deployed), gradients(variant.live)
    layers = [(k, m) for k, m in weight_layers(variant.live) if hasattr(m, "parametrizations")]
    assert layers
    for key, layer in layers:
        mask = layer.parametrizations["weight"][0]
        assert isinstance(mask, Mask)
        expected = torch.where(mask.mask, plain[f"{key}.weight"], 0.0)
        found = masked[f"{key}.parametrizations.weight.original"]
        torch.testing.assert_close(found, expected)
    torch.optim.SGD(variant.live.parameters(), lr=0.1).step()
    after = dict(weight_layers(variant.deployed()))
    for key, layer in layers:
        mask = layer.parametrizations["weight"][0].mask
        assert after[key].weight[~mask].count_nonzero() == 0
        assert not torch.equal(after[key].weight, deployed.get_submodule(key).weight)


@each_recipe
def test_accounting_counts_what_the_deployed_model_has(
    name: str, base: nn.Module, context: compression.Context
) -> None:
    variant = apply(base, *RECIPES[name], context=context)
    result = account(base, variant, (1, 8, 8))
    found = arrays(variant.deployed())
    assert [layer.nonzero_weights for layer in result.layers] == [
        np.count_nonzero(weight) for weight in found.values()
    ]
    zeros = sum(int((weight == 0).sum()) for weight in found.values())
    assert result.sparsity == pytest.approx(zeros / sum(w.size for w in found.values()))
    assert result.requested == " + ".join(make_step(table).label for table in RECIPES[name])
    assert result.compression_rate > 1


@pytest.mark.parametrize(
    ("table", "label"),
    [
        ({"name": "filter"}, "filter 50%"),
        (
            {"name": "filter", "ratio": "1/4", "criterion": "l2", "scope": "global"},
            "filter 25% L2 global",
        ),
        ({"name": "nm-sparsity"}, "nm-sparsity 2:4"),
        ({"name": "nm-sparsity", "n": 1, "indivisible": "dense"}, "nm-sparsity 1:4 rest dense"),
    ],
)
def test_labels(table: Table, label: str) -> None:
    assert make_step(table).label == label
