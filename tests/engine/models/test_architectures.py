"""Architectures: as many parameters as published, and fit to be folded, quantised and attacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import fx, nn

from engine import compression, models
from engine.compression.parts.base import ActivationQuantiser
from engine.models import registry
from engine.models.registry import BUILDERS
from engine.specs.choices import make_step

CIFAR = (
    "resnet-18",
    "preact-resnet-18",
    "wrn-28-4",
    "wrn-28-10",
    "wrn-34-10",
    "mobilenet-v2",
    "vgg-16-bn",
    "resnet-20",
)
LARGE = ("wrn-28-10", "wrn-34-10")
COUNTS = {
    ("resnet-18", 10): 11_173_962,
    ("resnet-18", 100): 11_220_132,
    ("preact-resnet-18", 10): 11_172_170,
    ("wrn-28-4", 10): 5_849_050,
    ("wrn-28-10", 10): 36_479_194,
    ("wrn-34-10", 10): 46_160_474,
    ("mobilenet-v2", 10): 2_296_922,
    ("mobilenet-v2", 100): 2_412_212,
    ("vgg-16-bn", 10): 15_311_818,
    ("resnet-20", 10): 269_722,
    ("wrn-70-16", 10): 266_796_506,
    ("resnet-18-w4", 10): 44_622,
    ("resnet-18-w8", 10): 176_402,
    ("resnet-18-w16", 10): 701_466,
    ("resnet-18-w32", 10): 2_797_610,
    ("resnet-18-w64", 10): 11_173_962,
    ("swish-wrn-28-10", 10): 36_479_194,
    ("torchvision.resnet50", 1000): 25_557_032,
    ("torchvision.vgg16_bn", 1000): 138_365_992,
}
WITH_UNUSED_STAGE = {"wrn-28-4": 6_118_266, "wrn-28-10": 38_119_866, "wrn-34-10": 48_262_586}


def bare(name: str, classes: int = 10) -> nn.Module:
    """Without memory for its weights."""
    return registry.bare(name, (3, 32, 32), classes)


@pytest.mark.parametrize(
    "look", [lambda rate: rate.item(), lambda rate: rate.to("cpu")], ids=["item", "copy"]
)
def test_a_network_whose_builder_looks_at_tensors_is_made_in_full(
    look: Callable[[torch.Tensor], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As transformers of timm do for their rates of stochastic depth."""

    def build(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
        look(torch.linspace(0, 0.1, 3)[1])
        return nn.Linear(shape[0], classes)

    monkeypatch.setitem(registry.OUTSIDE, "timm", build)
    assert bare("timm.vit").weight.shape == (10, 3)


def smooth(count: int, shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Random images with as much in low frequencies as pictures have; noise is all alike."""
    coarse = torch.rand(count, shape[0], 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, shape[1:], mode="bilinear")


def used(name: str, shape: tuple[int, int, int]) -> nn.Module:
    """With BatchNorm statistics and affine parameters as far from 0 and 1 as in a trained one."""
    generator = torch.Generator().manual_seed(1)
    model = models.build(name, shape, 10)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.3, 0.3, generator=generator)
    with torch.no_grad():
        model.train()(smooth(32, shape, seed=2))
    return model.eval()


@pytest.fixture(scope="module", params=CIFAR)
def network(request: pytest.FixtureRequest) -> nn.Module:
    side = 8 if request.param in LARGE else 32
    return used(request.param, (3, side, side))


@pytest.mark.parametrize(("name", "classes"), COUNTS)
def test_parameters_are_as_many_as_published(name: str, classes: int) -> None:
    assert models.count_parameters(bare(name, classes)) == COUNTS[name, classes]


@pytest.mark.parametrize("name", WITH_UNUSED_STAGE)
def test_checkpoints_with_an_unused_stage_hold_the_first_one_twice(name: str) -> None:
    model = bare(name)
    twice = models.count_parameters(model) + models.count_parameters(model.get_submodule("block1"))
    assert twice == WITH_UNUSED_STAGE[name]


def test_kinds_of_parameters_of_resnet_18() -> None:
    counts: Counter[str] = Counter()
    for module in bare("resnet-18").modules():
        counts[type(module).__name__] += sum(p.numel() for p in module.parameters(recurse=False))
    found = counts["Conv2d"], counts["BatchNorm2d"], counts["Linear"]
    assert found == (11_159_232, 9_600, 5_130)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 17, 9)])
def test_logits_for_any_image(name: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = BUILDERS[name](shape, 7)
        assert model(torch.empty(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", CIFAR)
def test_sides_before_the_pool_are_those_of_the_papers(name: str) -> None:
    with torch.device("meta"):
        model, sides = bare(name), []
        model.get_submodule("pool").register_forward_hook(
            lambda _m, inputs, _out: sides.append(tuple(inputs[0].shape[2:]))
        )
        model(torch.empty(1, 3, 32, 32))
    expected = {"vgg-16-bn": (2, 2), "resnet-20": (8, 8)}
    assert sides == [expected.get(name, (8, 8) if name.startswith("wrn") else (4, 4))]


@pytest.mark.parametrize("name", BUILDERS)
def test_every_relu_is_called_once_as_a_module(name: str) -> None:
    model = bare(name)
    graph = fx.Tracer().trace(model)
    relus = [path for path, module in model.named_modules() if isinstance(module, nn.ReLU)]
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    assert relus
    assert all(calls[path] == 1 for path in relus)
    functions = [node.target for node in graph.nodes if node.op == "call_function"]
    assert not any("relu" in str(function) for function in functions)


def test_view_agrees_with_deployed(network: nn.Module) -> None:
    side = 8 if models.count_parameters(network) > 2e7 else 32
    images = smooth(8, (3, side, side), seed=0)
    variant = compression.apply(network, (), compression.Context())
    deployed, view = variant.deployed(), variant.attack_view()
    with torch.no_grad():
        logits, found = deployed(images), view(images)
        assert torch.equal(logits, network(images))
        exact = deployed.double()(images.double())
        assert (view.double()(images.double()) - exact).abs().max() <= 1e-5
    assert logits.std(dim=0).max() > 1e-2  # a constant would agree with anything
    # The 53 narrow layers of an untrained MobileNetV2 alone lose more than 1e-5 to rounding.
    allowed = max(
        1e-5 * max(1.0, float(logits.abs().max())), 4 * float((logits - exact).abs().max())
    )
    assert float((found - logits).abs().max()) <= allowed


def test_every_norm_behind_a_convolution_is_folded(network: nn.Module) -> None:
    view = compression.apply(network, (), compression.Context()).attack_view()
    graph = fx.Tracer().trace(view)
    kinds = dict(view.named_modules())
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(kinds[str(node.target)], nn.BatchNorm2d):
            source = node.args[0]
            assert isinstance(source, fx.Node)
            follows = source.op == "call_module" and isinstance(
                kinds[str(source.target)], nn.Conv2d
            )
            assert not follows or len(source.users) > 1
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in view.modules())
    before = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert norms < before


@pytest.mark.parametrize("name", ["preact-resnet-18", "mobilenet-v2"])
def test_a_quantiser_stands_behind_every_relu(name: str) -> None:
    shape = (3, 8, 8)
    model, images = used(name, shape), smooth(16, shape, seed=0)
    step = make_step({"name": "ptq", "bits": 8, "activation_bits": 8})
    variant = compression.apply(model, (step,), compression.Context(images))
    quantisers = sum(isinstance(m, ActivationQuantiser) for m in variant.live.modules())
    assert quantisers == sum(isinstance(m, nn.ReLU) for m in model.modules())
    with torch.no_grad():
        expected, found = model(images), variant.deployed()(images)
    assert not torch.equal(expected, found)
    assert (expected - found).norm() < 0.5 * expected.norm()
