"""Masks of a file stay masks: what a step trains, quantises or cuts keeps their zeros."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn.utils import parametrizations, prune

from engine import catalog, compression, data, models
from engine.catalog import ModelCard
from engine.cli.main import main
from engine.compression.layers import on_weight, weight_layers, weight_of
from engine.compression.parts.mask import Mask
from engine.errors import ModelError, SpecError
from engine.importing import foreign
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.masks import layers_of, masked_layers
from engine.importing.report import Report
from engine.models.normalised import Normalised
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from engine.store import Writer
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.layouts import SubnetConv, SubnetLinear, TradesWRN
from tests.helpers.studies import small_study
from tests.helpers.trained_steps import apply, assert_views_and_files_agree, few_digits

State = dict[str, torch.Tensor]
SHAPE = (1, 8, 8)
HEAD = "8"
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 32}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return few_digits()


def pruned() -> nn.Module:
    """A network of which torch pruned six tenths of the convolutions, and a bias."""
    net = models.load(catalog.model_card("digits-resnet"))
    convolutions = [(one, "weight") for one in net.modules() if isinstance(one, nn.Conv2d)]
    prune.global_unstructured(convolutions, prune.L1Unstructured, amount=0.6)
    prune.l1_unstructured(net.get_submodule(HEAD), "bias", amount=0.5)  # type: ignore[no-untyped-call]
    return net.eval()


PRUNED = pruned()
MASKS = {
    key.removesuffix(".weight_mask"): one != 0
    for key, one in PRUNED.state_dict().items()
    if key.endswith(".weight_mask")
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """That network as an import whose normalisation changes nothing."""
    folder = tmp_path_factory.mktemp("library")
    path = folder / "pruned.pt"
    torch.save({"state_dict": PRUNED.state_dict()}, path)
    scale: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)}
    return import_model(Request(str(path), DatasetSpec(name="digits"), **scale), folder)


@pytest.fixture
def library(imported: Examined, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, in use."""
    folder = tmp_path_factory.getbasetemp()
    (path,) = folder.rglob("pruned.safetensors")
    catalog.use_library(path.parent)
    return path.parent


def card_of(done: Examined) -> ModelCard:
    assert done.card is not None
    return done.card


@pytest.fixture
def base(imported: Examined, library: Path) -> nn.Module:
    return models.load(card_of(imported))


def masked_weights(live: nn.Module) -> dict[str, torch.Tensor]:
    """What the masks let through, below any quantiser, by the names in the file."""
    found = {}
    for name, layer in weight_layers(live):
        chain = on_weight(layer)
        if chain and isinstance(chain[0], Mask):
            original = layer.parametrizations["weight"].original  # type: ignore[index,union-attr]
            found[name.removeprefix("model.")] = chain[0](original).detach()
    return found


def assert_zeros_are_the_masks(live: nn.Module) -> None:
    found = masked_weights(live)
    assert found.keys() == MASKS.keys()
    for name, mask in MASKS.items():
        assert torch.equal(found[name] != 0, mask)


# --- the import ---


def test_the_import_says_what_the_pruned_network_says(
    imported: Examined, base: nn.Module, digits: data.ImageSet
) -> None:
    expected = ask(PRUNED, digits.images)
    assert isinstance(base, Normalised)
    assert torch.equal(ask(base, digits.images), expected)
    started = compression.start(base)
    assert torch.equal(ask(started.live, digits.images), expected)
    assert torch.equal(ask(started.deployed(), digits.images), expected)
    assert not any(on_weight(layer) for _, layer in weight_layers(base))


def test_the_report_says_how_many_layers_and_how_dense(imported: Examined) -> None:
    report = imported.report
    assert {one.name for one in report.layers if one.masked} == MASKS.keys()
    assert report.masked_layers == len(MASKS)
    kept = sum(int(mask.sum()) for mask in MASKS.values())
    density = kept / sum(mask.numel() for mask in MASKS.values())
    assert report.masked_density == pytest.approx(density)
    text = " ".join(report.notes)
    assert f"the zeros of {len(MASKS)} layers, of whose weights {density:.1%} are left" in text
    assert "The masks of 8.bias are on no weight" in text
    assert "begin its recipe with magnitude" not in text
    assert Report.model_validate_json(report.model_dump_json()).masked_layers == len(MASKS)


def test_only_masked_models_have_other_keys(imported: Examined) -> None:
    card = card_of(imported)
    assert set(card.masked) == MASKS.keys()
    assert card.model_copy(update={"masked": ()}).basis == card.fingerprint
    some = card.model_copy(update={"masked": card.masked[:2]})
    assert len({card.fingerprint, card.basis, some.basis}) == 3


def test_a_card_that_names_another_layer_is_refused(imported: Examined, library: Path) -> None:
    card = card_of(imported).model_copy(update={"masked": ("8", "9")})
    with pytest.raises(ModelError, match="holds the zeros of '9', which the network does not have"):
        models.load(card)


def test_a_kept_weight_that_is_zero_is_told(tmp_path: Path) -> None:
    state = copy.deepcopy(PRUNED.state_dict())
    name, mask = next(iter(MASKS.items()))
    place = tuple(mask.nonzero()[0])
    state[f"{name}.weight_orig"][place] = 0
    torch.save(state, tmp_path / "m.pt")
    done = import_model(Request(str(tmp_path / "m.pt"), DatasetSpec(name="digits")), None)
    assert any("that its masks keep, 1 are zero, too" in note for note in done.report.notes)


# --- what steps do ---


@pytest.mark.parametrize(
    "table",
    [
        {"name": "finetune", **QUICK},
        {"name": "finetune", "training": "pgd-at", "eps": 0.1, "attack_steps": 1, **QUICK},
        {"name": "kd", "teacher": "base", **QUICK},
        {"name": "ard", "teacher": "base", "eps": 0.1, "attack_steps": 1, **QUICK},
        {"name": "qat", "method": "lsq", "bits": 4, **QUICK},
    ],
    ids=lambda table: f"{table['name']} {table.get('training', '')}",
)
def test_training_moves_what_is_left_and_no_zero(
    table: dict[str, Any], base: nn.Module, digits: data.ImageSet
) -> None:
    variant = apply(base, table, training=digits, teacher=lambda _: copy.deepcopy(base))
    assert_zeros_are_the_masks(variant.live)
    before = masked_weights(compression.start(base).live)
    for name, after in masked_weights(variant.live).items():
        moved = (after != before[name])[MASKS[name]].float().mean()
        assert moved > 0.9
    for name, layer in weight_layers(variant.deployed()):
        if (mask := MASKS.get(name.removeprefix("model."))) is not None:
            assert not layer.weight[~mask].any()
    head = dict(weight_layers(variant.live))[f"model.{HEAD}"]
    assert not any(isinstance(part, Mask) for part in on_weight(head))


def test_what_is_stored_of_it_is_the_same_again(
    imported: Examined, base: nn.Module, digits: data.ImageSet, tmp_path: Path
) -> None:
    quantised = apply(base, {"name": "ptq", "bits": 4}, calibration=digits.images)
    for name, variant in {"none": compression.start(base), "ptq": quantised}.items():
        folder = tmp_path / name
        assert_views_and_files_agree(variant, card_of(imported).id, digits.images, folder)
        assert_zeros_are_the_masks(compression.load(folder).live)


def test_further_pruning_comes_on_top(base: nn.Module) -> None:
    variant = apply(base, {"name": "magnitude", "sparsity": 0.8, "scope": "global"})
    weights = {n.removeprefix("model."): weight_of(one) for n, one in weight_layers(variant.live)}
    for name, mask in MASKS.items():
        assert not weights[name][~mask].any()
    total = sum(one.numel() for one in weights.values())
    assert sum(int((one == 0).sum()) for one in weights.values()) == round(0.8 * total)
    hydra = {"name": "hydra", "density": 0.9, "prune_epochs": 0, "finetune_epochs": 0}
    scored = dict(weight_layers(apply(base, hydra).live))
    for name, mask in MASKS.items():
        assert not weight_of(scored[f"model.{name}"])[~mask].any()


def test_channels_are_cut_and_the_rest_of_the_masks_holds(
    base: nn.Module, digits: data.ImageSet
) -> None:
    cut = {"name": "channel", "keep": 0.6}
    smaller = apply(base, cut, shape=SHAPE)
    tuned = apply(base, cut, {"name": "finetune", **QUICK}, training=digits, shape=SHAPE)
    held, trained = masked_weights(smaller.live), masked_weights(tuned.live)
    assert held.keys() == trained.keys() == MASKS.keys()
    for name, weight in held.items():
        assert weight.numel() < MASKS[name].numel()
        assert torch.equal(trained[name] != 0, weight != 0)
    zeros = sum(int((one == 0).sum()) for one in held.values())
    assert zeros > 0.3 * sum(one.numel() for one in held.values())


def test_levels_without_zero_are_refused_before_anything_runs(
    imported: Examined, library: Path, tmp_path: Path
) -> None:
    binary = {"name": "qat", "method": "binary", "bits": 1}
    study = small_study(model=[{"name": card_of(imported).id}], compression=[binary])
    with Writer(tmp_path / "lab.db") as store:
        with pytest.raises(SpecError, match="cannot follow the masks of pruned, because"):
            runner.run(study, store, lambda _: None, options=Options(device="cpu"))
        assert not store.results()


def test_a_study_counts_the_same_zeros_before_and_after_a_training(
    imported: Examined, library: Path, tmp_path: Path
) -> None:
    study = small_study(
        model=[{"name": card_of(imported).id}],
        dataset={"name": "digits", "limit": 30, "train_limit": 160},
        compression=[{"name": "finetune", **QUICK}],
        attack=[{"name": "fgsm", "eps": 0.1}],
    )
    with Writer(tmp_path / "lab.db") as store:
        runner.run(study, store, lambda _: None, options=Options(device="cpu"))
        rows = store.results()
    assert [row["status"] for row in rows] == ["finished", "finished"]
    layers = imported.report.layers
    weights = sum(one.weights for one in layers)
    removed = sum(int((~mask).sum()) for mask in MASKS.values())
    for row in rows:
        assert row["achieved_sparsity"] == pytest.approx(removed / weights)


# --- however the masks came ---


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        pooled: torch.Tensor = self.conv(x).relu().mean((2, 3))
        return self.fc(pooled)  # type: ignore[no-any-return]


CODE = """
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization

class Net(nn.Module):
    def __init__(self, pruned=False, half=False):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)
        if pruned:
            prune.identity(self.conv, "weight")
        if half:
            self.half()
    def forward(self, x):
        return self.fc(self.conv(x.to(self.fc.weight.dtype)).relu().mean((2, 3)))

class Multiplies(Net):
    def __init__(self):
        super().__init__()
        self.conv.register_buffer("mask", torch.ones_like(self.conv.weight))
    def forward(self, x):
        weight = self.conv.weight * self.conv.mask
        return self.fc(nn.functional.conv2d(x, weight, self.conv.bias).relu().mean((2, 3)))

class Where(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)
    def forward(self, weight):
        return torch.where(self.mask, weight, 0.0)

def make(kind):
    net = Net()
    net.load_state_dict(torch.load("{plain}"))
    mask = net.conv.weight.detach().abs() > 0.2
    if kind == "hook":
        prune.custom_from_mask(net.conv, "weight", mask)
    else:
        register_parametrization(net.conv, "weight", Where(mask))
    return net
"""


def small() -> nn.Module:
    return lively(Net(), pictures(side=8))


def cut(net: nn.Module, above: float = 0.2) -> nn.Module:
    """With masks on its convolution."""
    conv = net.get_submodule("conv")
    mask = conv.weight.detach().abs() > above  # type: ignore[operator,union-attr]
    prune.custom_from_mask(conv, "weight", mask)  # type: ignore[no-untyped-call]
    return net


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Examined]:
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "methods"))

    def visit(net: nn.Module, side: int = 8, file: str = "m.pt", **wish: Any) -> Examined:
        labelled(net, pictures(side=side), tmp_path / "x.npz")
        torch.save(net.state_dict(), tmp_path / "m.pt")
        plain = {key.removesuffix("_orig"): v for key, v in net.state_dict().items()
                 if not key.endswith("_mask")}  # fmt: skip
        torch.save(plain, tmp_path / "plain.pt")
        (tmp_path / "net.py").write_text(CODE.replace("{plain}", str(tmp_path / "plain.pt")))
        spec = DatasetSpec(npz=str(tmp_path / "x.npz"))
        request = Request(str(tmp_path / file), spec, keep=True, **wish)
        return import_model(request, tmp_path / "library", confirm=lambda _: True)

    return visit


WAYS: dict[str, dict[str, Any]] = {
    "a chain": {"candidate": 1},
    "a class": {"network": "net.py:Net"},
    "a class in half precision": {"network": "net.py:Net", "arguments": "half=True"},
    "a class that is pruned itself": {"network": "net.py:Net", "arguments": "pruned=True"},
    "a function with hooks": {"file": "net.py:make", "arguments": "'hook'"},
    "a function with parametrizations": {"file": "net.py:make", "arguments": "'where'"},
}


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_found_in_exported_programs(
    way: str, hospital: Callable[..., Examined], tmp_path: Path
) -> None:
    wish = dict(WAYS[way])
    if "network" in wish:
        wish["network"] = str(tmp_path / wish["network"])
    net = cut(small())
    done = hospital(net, **wish)
    (held,) = [one for one in done.report.layers if one.masked]
    live = compression.start(models.load(card_of(done), tmp_path / "library")).live
    (mask,) = [part for _, layer in weight_layers(live) for part in on_weight(layer)]
    assert torch.equal(mask.mask, net.get_submodule("conv").weight_mask != 0)
    assert held.density == pytest.approx(float(mask.mask.float().mean()))


def test_masks_stand_beside_weights_of_several_tensors() -> None:
    """Length and direction of weight normalisation have no one tensor that a mask could fit."""
    net = Net()
    parametrizations.weight_norm(net.fc)
    mask = net.conv.weight.detach().abs() > 0.1
    prune.custom_from_mask(net.conv, "weight", mask)  # type: ignore[no-untyped-call]
    found = foreign.masked_weights(net)
    assert found.keys() == {"conv.weight"}
    assert torch.equal(found["conv.weight"] != 0, mask)


def test_a_class_that_multiplies_its_mask_itself_is_left_to_it(
    hospital: Callable[..., Examined], tmp_path: Path
) -> None:
    net = small()
    conv = net.get_submodule("conv")
    conv.register_buffer("mask", (conv.weight.detach().abs() > 0.2).float())  # type: ignore[operator,union-attr]
    done = hospital(net, network=str(tmp_path / "net.py:Multiplies"))
    assert not card_of(done).masked
    assert not any("lets their zeros go" in note for note in done.report.notes)


@pytest.mark.parametrize("density", [0.3, None, 1.0])
def test_subnets_of_scores_are_masks(
    density: float | None, hospital: Callable[..., Examined], tmp_path: Path
) -> None:
    net = TradesWRN(10, 1, subnet=True)
    for one in net.modules():
        if isinstance(one, SubnetConv | SubnetLinear):
            one.k = 0.3
    lively(net, pictures())
    done = hospital(net, side=32, density=density)
    live = compression.start(models.load(card_of(done), tmp_path / "library")).live
    masks = [on_weight(layer) for _, layer in weight_layers(live)]
    report = done.report
    if report.kept == 1:
        assert not any(masks)
        assert not report.masked_layers
    else:
        assert all(masks)
        assert report.masked_layers == len(report.layers)
        assert report.masked_density == pytest.approx(report.kept, abs=0.01)


def test_projections_inside_of_attention_are_layers_too() -> None:
    whole = nn.Sequential(nn.MultiheadAttention(8, 2))
    weight = whole[0].in_proj_weight
    weight.data[weight.abs() < 0.1] = 0
    layers = layers_of(whole)
    held, left = masked_layers(layers, {"net.0.in_proj_weight": weight, "gone": weight[1:]})
    assert (held, left) == ({"0.in_proj"}, ["gone"])
    assert set(layers) == {"0.in_proj", "0.out_proj"}
    assert isinstance(whole[0], nn.MultiheadAttention)


def test_without_masks_zeros_are_told_with_the_step_that_holds_them(
    hospital: Callable[..., Examined], tmp_path: Path
) -> None:
    net = small()
    with torch.no_grad():
        for one in (net.get_submodule("conv"), net.get_submodule("fc")):
            one.weight[one.weight.abs() < one.weight.abs().quantile(0.7)] = 0  # type: ignore[index,operator,union-attr]
    done = hospital(net, network=str(tmp_path / "net.py:Net"))
    assert not card_of(done).masked
    (note,) = (one for one in done.report.notes if "no mask of the file holds them" in one)
    sparsity = float(re.search(r"sparsity = ([\d.]+),", note)[1])  # type: ignore[index]
    base = models.load(card_of(done), tmp_path / "library")
    live = compression.apply(
        base, (make_step({"name": "magnitude", "sparsity": sparsity, "scope": "global"}),),
        compression.Context(),
    ).live  # fmt: skip
    for (_, was), (_, now) in zip(weight_layers(base), weight_layers(live), strict=True):
        (mask,) = on_weight(now)
        assert torch.equal(mask.mask, was.weight != 0)


def test_few_zeros_are_no_matter(hospital: Callable[..., Examined], tmp_path: Path) -> None:
    net = small()
    net.get_submodule("conv").weight.data[:2] = 0  # type: ignore[index,union-attr,operator]
    done = hospital(net, network=str(tmp_path / "net.py:Net"))
    assert not any("mask" in note for note in done.report.notes)


def test_the_command_line_says_it(hospital: Callable[..., Examined], tmp_path: Path) -> None:
    hospital(cut(small()), network=str(tmp_path / "net.py:Net"))
    where = {"class": "net.py:Net", "npz": "x.npz", "db": "lab.db"}
    given = [f"--{option}={tmp_path / name}" for option, name in where.items()]
    result = CliRunner().invoke(main, ["import", str(tmp_path / "m.pt"), "--json", *given])
    told = json.loads(result.stdout)
    assert (told["masked_layers"], 0 < told["masked_density"] < 1) == (1, True)
