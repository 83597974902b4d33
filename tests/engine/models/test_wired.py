"""Networks from their wiring: the same numbers as written by hand, and nothing else from a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import fx, nn

from engine import compression, models
from engine.catalog.models.wiring import IMAGES, Node, Op, Wiring
from engine.compression import files as variant_files
from engine.errors import ModelError
from engine.models.files.bundle import save
from engine.specs.choices import make_step
from tests.helpers.checkpoints import ask, lively, pictures

SHAPE = (3, 32, 32)


def node(name: str, op: Op, *after: str, **options: Any) -> Node:
    return Node(name=name, op=op, after=after or (IMAGES,), options=options)


def residual(leak: float = 0.0, padded: bool = True) -> Wiring:
    """A stem, a block with a shortcut of option A (or a 1x1 convolution), and a linear head."""
    act: tuple[Op, dict[str, float]] = ("leaky-relu", {"slope": leak}) if leak else ("relu", {})
    shortcut = [
        node("b.fewer", "every-second", "stem.2"),
        node("b.short", "pad-channels", "b.fewer", before=8, behind=8),
    ]
    if not padded:
        shortcut = [node("b.short", "convolution", "stem.2", inputs=16, outputs=32, kernel=1,
                         stride=2)]  # fmt: skip
    return Wiring(
        nodes=(
            node("stem.0", "convolution", inputs=3, outputs=16, kernel=3, padding=1),
            node("stem.1", "norm", "stem.0", channels=16),
            node("stem.2", act[0], "stem.1", **act[1]),
            node("b.conv1", "convolution", "stem.2", inputs=16, outputs=32, kernel=3, stride=2,
                 padding=1),
            node("b.bn1", "norm", "b.conv1", channels=32),
            node("b.relu1", act[0], "b.bn1", **act[1]),
            node("b.conv2", "convolution", "b.relu1", inputs=32, outputs=32, kernel=3, padding=1),
            *shortcut,
            node("b.sum", "add", "b.conv2", "b.short"),
            node("b.relu2", "relu", "b.sum"),
            node("pool", "mean", "b.relu2"),
            node("flat", "flatten", "pool"),
            node("fc", "linear", "flat", inputs=32, outputs=5),
        )
    )  # fmt: skip


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    def norm(name: str, y: torch.Tensor) -> torch.Tensor:
        parts = (state[f"{name}.{one}"] for one in ("running_mean", "running_var", "weight",
                                                    "bias"))  # fmt: skip
        return F.batch_norm(y, *parts)

    x = F.relu(norm("stem.1", F.conv2d(x, state["stem.0.weight"], padding=1)))
    y = F.relu(norm("b.bn1", F.conv2d(x, state["b.conv1.weight"], stride=2, padding=1)))
    y = F.conv2d(y, state["b.conv2.weight"], padding=1)
    z = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8)))
    return F.linear(z.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def test_a_network_computes_what_its_wiring_says() -> None:
    images = pictures(6)
    network = lively(models.build(residual(), SHAPE, 5), images)
    found = ask(network, images)
    assert torch.allclose(found, by_hand(network.state_dict(), images), atol=1e-5)
    assert found.std(dim=0).min() > 1e-2
    # First and last layer are told by this order.
    assert [name for name, one in network.named_modules() if isinstance(one, nn.Conv2d)] == [
        "stem.0", "b.conv1", "b.conv2",
    ]  # fmt: skip


ALONE: dict[Op, tuple[dict[str, Any], Any]] = {
    "relu6": ({}, F.relu6),
    "leaky-relu": ({"slope": 0.1}, lambda x: F.leaky_relu(x, 0.1)),
    "silu": ({}, F.silu),
    "max-pool": ({"kernel": 3, "stride": 2, "padding": 1}, lambda x: F.max_pool2d(x, 3, 2, 1)),
    "average-pool": ({"kernel": 2}, lambda x: F.avg_pool2d(x, 2)),
    "mean": ({}, lambda x: x.mean((2, 3), keepdim=True)),
    "adaptive-mean": ({"side": 2}, lambda x: F.adaptive_avg_pool2d(x, 2)),
    "every-second": ({}, lambda x: x[:, :, ::2, ::2]),
    "pad-channels": ({"before": 0, "behind": 3}, lambda x: torch.cat([x, 0 * x[:, :3]], 1)),
    "first-half": ({}, lambda x: x[:, :2]),
    "second-half": ({}, lambda x: x[:, 2:]),
    "shuffle": ({"groups": 2}, lambda x: x[:, [0, 2, 1, 3]]),
}


@pytest.mark.parametrize("op", ALONE)
def test_operations_alone(op: Op) -> None:
    options, expected = ALONE[op]
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    network = models.build(Wiring(nodes=(node("only", op, **options),)), SHAPE, 1)
    assert torch.allclose(network(x), expected(x), atol=1e-6)


def test_joins_keep_their_order() -> None:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    joined = node("c", "concatenate", "a", IMAGES), node("m", "multiply", "c", "c")
    network = models.build(Wiring(nodes=(node("a", "relu"), *joined)), SHAPE, 1)
    assert torch.equal(network(x), torch.cat([x.relu(), x], 1) ** 2)


@pytest.mark.parametrize("name", ['a", exec("x")', "a b", "", "a..b", "a.", "class", "x.__class__",
                                  "a\n", "ä"])  # fmt: skip
def test_names_become_code_so_others_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        node(name, "relu")


def test_damaged_wirings_are_refused() -> None:
    first = node("a", "relu")
    for broken in ((node("b", "relu", "a"), first), (first, first), ()):
        with pytest.raises(ValidationError):
            Wiring(nodes=broken)
    for options in ({"kernel": 3}, {"inputs": 3, "outputs": 4, "kernel": 3, "groups": 2},
                    {"inputs": 3, "outputs": 4, "kernel": 3, "depth": 1}):  # fmt: skip
        with pytest.raises(ModelError, match=r"The layer a \(convolution\) of the model cannot"):
            models.build(Wiring(nodes=(node("a", "convolution", **options),)), SHAPE, 1)
    for taken in ("training", "forward"):
        with pytest.raises(ModelError, match="cannot be built"):
            models.build(Wiring(nodes=(node(taken, "relu"),)), SHAPE, 1)


def card_of(wiring: Wiring, folder: Path, images: torch.Tensor) -> Any:
    fields = {"id": "m", "title": "m", "summary": "m", "architecture": "a residual network",
              "wiring": wiring, "dataset": "npz", "shape": SHAPE, "classes": 5,
              "clean_accuracy": 1.0, "test_images": 6, "recipe": {},
              "origin": "imported"}  # fmt: skip
    return save(lively(models.build(wiring, SHAPE, 5), images), fields, folder)


def test_models_and_their_variants_come_back_from_files(tmp_path: Path) -> None:
    images = pictures(6)
    card = card_of(residual(padded=False), tmp_path, images)
    base = models.load(card, tmp_path)
    for step in ({"name": "magnitude", "sparsity": 0.5}, {"name": "channel", "keep": 0.5},
                 {"name": "ptq", "bits": 8, "activation_bits": 8}):  # fmt: skip
        made = compression.apply(base, (make_step(step),), compression.Context(images))
        folder = tmp_path / str(step["name"])
        variant_files.save(made, card, folder)
        again = variant_files.load(folder)
        logits = ask(again.deployed(), images)
        assert torch.equal(logits, ask(made.deployed(), images))
        assert not torch.equal(logits, ask(base, images))
        assert isinstance(made.attack_view(), nn.Module)


def test_equal_tensors_wired_otherwise_are_other_models(tmp_path: Path) -> None:
    images = pictures(6)
    first = card_of(residual(), tmp_path / "a", images)
    second = card_of(residual(0.1), tmp_path / "b", images)
    again = first.model_copy(update={"wiring": residual()})
    assert first.basis == again.basis
    alike = second.model_copy(update={"fingerprint": first.fingerprint})
    assert alike.basis != first.basis


def test_a_quantiser_can_stand_behind_every_activation() -> None:
    graph = fx.Tracer().trace(models.build(residual(), SHAPE, 5))
    called = [str(one.target) for one in graph.nodes if one.op == "call_module"]
    assert {"stem.2", "b.relu1", "b.relu2"} <= set(called)
