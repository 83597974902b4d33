"""``crumple check-method`` names a planted fault of each kind, and finds none where none is."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine import catalog, extensions
from engine.cli.main import main
from engine.contracts import check_file
from engine.contracts.check import check_method
from engine.errors import SpecError
from tests.helpers.own_methods import ATTACK, EXAMPLES, has_run, without_processes, write

ATTACK_FILE = """
import random
import numpy as np
import torch
from engine.extend import *

class P(Params):
    eps: Number = Field(0.1, ge=0, le=1, title="eps", description="Radius.")

class Mine(Attack[P]):
    def run(self, search, pass_):
        rows, eps = search.survivors(), self.params.eps
        images = search.images[rows]
        look, gradient = search.peek(rows, images)
        lower, upper = linf_bounds(images, eps)
        way = gradient.sign()
        points = torch.clamp(images + eps * way, lower, upper)
        FAULT
        search.judge(rows, points, search.step + 1)
        search.emit(search.step + 1, look, eps)

METHODS = [AttackMethod(Entry("mine", "Mine", "tests", "Of a test.", "", P, norm="Linf"), Mine)]
"""

ATTACK_FAULTS = {
    "stays in the ball": "points = torch.clamp(images + 2 * eps * way, 0, 1)",
    "stays in [0, 1]": "points = images + eps * way",
    "changes nothing at eps 0": "points = torch.clamp(images + max(eps, 0.01) * way, 0, 1)",
    "gives the same for the same seed": (
        "fresh = torch.Generator(); fresh.seed(); "
        "points = torch.lerp(images, points, torch.rand(points.shape, generator=fresh))"
    ),
    "gives an image the same whatever its batch": (
        "draw = torch.Generator().manual_seed(search.seed); "
        "points = torch.lerp(images, points, torch.rand(points.shape, generator=draw))"
    ),
    "leaves the global random state alone": "random.random()",
    "runs with its defaults": "points = points.unknown",
}
MODEL_FAULTS = {
    "modes (train, eval)": "search.view.train()",
    "requires_grad": "next(search.view.parameters()).requires_grad_(True)",
    "weights": "next(search.view.parameters()).data.mul_(1)\n"
    "        next(search.view.parameters()).data[0] += 1e-6",
    "hooks": "search.view.register_forward_hook(lambda *a: None)",
    "the images": "search.images[rows] = points",
}

STEP_FILE = """
import torch
from torch import nn
from engine.extend import *
from engine.compression.methods.ptq import SymmetricQuantiser

class P(Params):
    sparsity: Number = Field(0.5, ge=0, lt=1, title="sparsity", description="Share.")

def mine(model, params, context):
    draw = torch.Generator().manual_seed(context.seed)
    for _, layer in weight_layers(model):
        count = layer.weight.numel()
        kept = torch.ones(count, dtype=torch.bool)
        kept[torch.randperm(count, generator=draw)[: round(params.sparsity * count)]] = False
        attach(layer, Mask(kept.reshape(layer.weight.shape)))
    FAULT
    return model

METHODS = [CompressionMethod(Entry("mine", "Mine", "pruning", "Of a test.", "", P), mine)]
"""
STEP_FAULTS = {
    "runs with its defaults and gives logits": "return 7",
    "gives the same for the same seed": (
        "mask = on_weight(weight_layers(model)[0][1])[-1].mask\n"
        "    fresh = torch.Generator(); fresh.seed()\n"
        "    mask.copy_(torch.rand(mask.shape, generator=fresh) > 0.5)"
    ),
    "leaves the global random state alone": "torch.rand(1)",
    "leaves the training images as they were": "context.training.labels[0] += 1",
    "trained form, deployed model and attack view agree": (
        "calls = []\n"
        "    model.register_forward_hook("
        "lambda m, i, out: out * (1 + 0.01 * (calls.append(1) or len(calls))))"
    ),
    "is the same bit by bit when saved and loaded": (
        "names = [n for n, m in model.named_modules() if isinstance(m, nn.ReLU)]\n"
        "    parent, _, name = names[0].rpartition('.')\n"
        "    setattr(model.get_submodule(parent), name, nn.GELU())"
    ),
    "is what the accounting says": (
        "scale = torch.full((len(layer.weight), *[1] * (layer.weight.dim() - 1)), 0.001)\n"
        "    lying = SymmetricQuantiser(scale, 8); lying.bits = 2; attach(layer, lying)"
    ),
    "achieves what it was asked for": "model = PLAIN",
}


@pytest.fixture(autouse=True)
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_processes(monkeypatch, tmp_path)


def broken(file: Path) -> dict[str, str]:
    """The rules that are broken, with the reasons."""
    found = list(check_file(file, lambda _: True))
    assert found
    return {one.rule: one.reason for one in found if not one.kept}


def planted(folder: Path, text: str, fault: str) -> dict[str, str]:
    name = f"fault_{abs(hash(fault))}.py"
    return broken(write(folder, text.replace("FAULT", fault or "pass"), name))


@pytest.mark.parametrize("name", ["sign_momentum.py", "random_pruning.py"])
def test_the_examples_keep_to_every_rule(name: str) -> None:
    assert not broken(EXAMPLES / name)


@pytest.mark.parametrize("text", [ATTACK_FILE, STEP_FILE], ids=["attack", "step"])
def test_without_a_fault_none_is_found(tmp_path: Path, text: str) -> None:
    assert not planted(tmp_path, text, "")


@pytest.mark.parametrize("rule", ATTACK_FAULTS)
def test_a_fault_of_an_attack_is_named(tmp_path: Path, rule: str) -> None:
    found = planted(tmp_path, ATTACK_FILE, ATTACK_FAULTS[rule])
    assert rule in found
    more = {"stays in the ball": {"changes nothing at eps 0"}}
    more["gives the same for the same seed"] = {"gives an image the same whatever its batch"}
    assert set(found) <= {rule, *more.get(rule, ())}


@pytest.mark.parametrize("what", MODEL_FAULTS)
def test_what_an_attack_leaves_changed_is_named(tmp_path: Path, what: str) -> None:
    found = planted(tmp_path, ATTACK_FILE, MODEL_FAULTS[what])
    assert what in found["leaves model and images as they were"]


@pytest.mark.parametrize("rule", STEP_FAULTS)
def test_a_fault_of_a_step_is_named(tmp_path: Path, rule: str) -> None:
    text, fault = STEP_FILE, STEP_FAULTS[rule]
    if fault == "model = PLAIN":  # masks that keep everything
        text, fault = text.replace("= False", "= True"), ""
    found = planted(tmp_path, text, fault)
    assert rule in found
    more = {"is what the accounting says": {"is the same bit by bit when saved and loaded"}}
    hooks = {"is the same bit by bit when saved and loaded", "is what the accounting says"}
    more["trained form, deployed model and attack view agree"] = hooks
    more["is the same bit by bit when saved and loaded"] = {"is what the accounting says"}
    assert set(found) <= {rule, *more.get(rule, ())}


DATA_FILE = """
import numpy as np
from engine.extend import *

X = np.random.RandomState(0).randint(0, 256, (40, 1, 8, 8)).astype(np.uint8)
Y = np.arange(40) % 10

def mine(spec, part):
    x, y = X, Y
    FAULT
    return Source(y, tuple("0123456789"), (1, 8, 8), lambda rows: x[rows])

METHODS = [DatasetMethod(Entry("mine", "Mine", "tests", "Of a test.", ""), mine)]
"""
DATA_FAULTS = {
    "test images lie in [0, 1], labels in range": [
        "x = X.astype(np.float32)",
        "y = Y + 1",
        "x = X * 0",
        "y = Y % 7",
        "return 7",
    ],
    "training images lie in [0, 1], labels in range": [
        "x = X.astype(np.float32) if part == 'training' else X",
    ],
    "comes in a seeded order": ["x = np.random.default_rng().permutation(X)"],
    "gives an image the same whatever it is read with": [
        "return Source(y, tuple('0123456789'), (1, 8, 8), lambda rows: x[rows] // len(rows))",
    ],
}


@pytest.mark.parametrize(
    ("rule", "fault"), [(rule, fault) for rule, faults in DATA_FAULTS.items() for fault in faults]
)
def test_a_fault_of_a_dataset_is_named(tmp_path: Path, rule: str, fault: str) -> None:
    assert rule in planted(tmp_path, DATA_FILE, fault)


def test_a_sound_dataset_has_no_fault(tmp_path: Path) -> None:
    assert not planted(tmp_path, DATA_FILE, "")


def test_an_entry_that_forms_cannot_show_is_named(tmp_path: Path) -> None:
    text = ATTACK_FILE.replace('Entry("mine"', 'Entry("pgd"')
    found = broken(write(tmp_path, text))
    assert "Crumple itself" in found["has an entry that forms can show"]


UNTRAINED = [
    id_
    for id_, entry in catalog.built_in("compressions").items()
    if id_ not in ("none", "nm-sparsity") and not entry.params().training_epochs()
]
"""Steps that can be tried in seconds; N:M sparsity refuses the one channel of the digits."""


@pytest.mark.parametrize(
    ("section", "id_"),
    [
        *(("attacks", id_) for id_ in ("fgsm", "deepfool")),
        *(("compressions", id_) for id_ in UNTRAINED),
        ("datasets", "digits"),
    ],
)
def test_built_in_methods_keep_to_every_rule(section: str, id_: str) -> None:
    assert [one for one in check_method(section, id_) if not one.kept] == []


def test_nothing_runs_without_consent(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(SpecError, match="nobody confirmed"):
        list(check_file(file, lambda _: False))
    done = CliRunner().invoke(main, ["check-method", str(file)])
    assert done.exit_code == 2
    assert not has_run(file)


def test_the_command_prints_and_ends_as_it_found(tmp_path: Path) -> None:
    good = CliRunner().invoke(
        main, ["check-method", "--trust-code", str(EXAMPLES / "random_pruning.py")]
    )
    assert good.exit_code == 0, good.output
    assert "compression random-pruning" in good.output
    assert "FAIL" not in good.output
    bad = CliRunner().invoke(main, ["check-method", "--trust-code", str(write(tmp_path, ATTACK))])
    assert bad.exit_code == 1
    assert "FAIL  runs with its defaults: AssertionError: nobody attacks here" in bad.output


def test_a_trusted_file_needs_no_further_consent(tmp_path: Path) -> None:
    file = write(tmp_path)
    extensions.add(file, lambda _: True)
    assert CliRunner().invoke(main, ["check-method", str(file)]).exit_code == 1
    write(tmp_path, f"{ATTACK}#")
    assert CliRunner().invoke(main, ["check-method", str(file)]).exit_code == 2
