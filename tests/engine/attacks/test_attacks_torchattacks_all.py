"""Every class of the library, run behind the adapter beside the library alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from engine import catalog
from engine.attacks import StepPoint, run_attack
from engine.attacks.search.noise import batch_seed
from engine.attacks.torchattacks.adapter import PREFIX
from engine.specs.choices import make_attack
from tests.helpers.attack_models import Wrapped, trained
from tests.helpers.torchattacks_classes import CLASSES, attack_table, coloured_images

ONE_BY_ONE = {
    name
    for name in CLASSES
    if "one by one" in catalog.find("attacks", f"torchattacks.{name}").traits
}
LOOSE: dict[str, dict[str, Any]] = {
    "OnePixel": {"pixels": 40},
    "Square": {"eps": 0.5},
    "GN": {"std": 0.5},
}


def _state(model: nn.Module) -> tuple[Any, ...]:
    return (
        [part.training for part in model.modules()],
        [each.requires_grad for each in model.parameters()],
        [each.grad is None for each in model.parameters()],
        [each.sum().item() for each in model.state_dict().values()],
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
    )


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_keeps_the_rules(name: str) -> None:
    model, images, labels = coloured_images(4)
    model.zero_grad()
    # A part in training mode, which the library's way of putting modes back would lose.
    model.model[1].train()
    seen: list[int] = []
    counted = Wrapped(model, before=lambda x: (seen.append(len(x)), x)[1])
    points: list[StepPoint] = []
    kept, before = images.clone(), _state(counted)
    spec = make_attack(attack_table(name))
    result = run_attack(counted, images, labels, spec, seed=3, observer=points.append)
    assert _state(counted) == before
    assert torch.equal(images, kept)
    model.model[1].eval()
    adversarial = result.adversarial
    assert ((adversarial >= 0) & (adversarial <= 1)).all()
    if spec.eps is not None:
        reached = result.linf if spec.norm == "Linf" else result.l2
        assert (reached <= spec.eps * (1 + 1e-6)).all()
    assert torch.equal(model(adversarial).argmax(dim=1) != labels, result.broken)
    # Twice a few images, and each example once more, which are no queries of the attack.
    assert 0 <= sum(seen) - int(result.forwards.sum()) <= 8 + 2 * 4
    assert (result.broken_at_step[result.broken] > 0).all()
    steps = [point.step for point in points]
    assert steps == sorted(steps)
    assert len(steps) == len(set(steps)) or name in ONE_BY_ONE
    assert result.curve[-1].broken == points[-1].broken == int(result.broken.sum())
    assert not any("Attack failure" in note for note in result.notes)


ALONE: dict[str, dict[str, Any]] = {
    "APGD": {"eps": 0.1},
    "BIM": {"eps": 0.1, "alpha": 0.02},
    "CW": {"steps": 40},
    "DeepFool": {},
    "FAB": {"eps": 0.1, "steps": 5},
    "FFGSM": {"eps": 0.2, "alpha": 0.25},
    "FGSM": {"eps": 0.1},
    "GN": {"std": 0.3},
    "JSMA": {},
    "MIFGSM": {"eps": 0.1, "alpha": 0.02},
    "PGD": {"eps": 0.1, "alpha": 0.02, "random_start": False},
    "PGDL2": {"eps": 0.8, "random_start": False},
    "Square": {"eps": 0.1, "n_queries": 50},
    "TPGD": {"eps": 0.1, "alpha": 0.02},
    "VANILA": {},
}


@pytest.mark.parametrize("name", ALONE)
def test_success_is_that_of_the_library_alone(name: str) -> None:
    """Without our interface, on the images that are under attack, from the same random state."""
    model, images, _ = trained()
    images = images[:12]
    labels = model(images).argmax(dim=1)
    result = run_attack(model, images, labels, {"name": PREFIX + name, **ALONE[name]}, seed=5)
    seed = batch_seed(images, labels, 5)
    owned = {"seed": seed} if name in ("APGD", "FAB", "Square") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        attack = getattr(torchattacks, name)(model, **ALONE[name], **owned)
        alone = attack(images.clone(), labels).detach()
    model.zero_grad()
    # DeepFool ends on the boundary up to rounding, and what lies on it is no example.
    parts = alone.split(1 if name in ONE_BY_ONE else 12)
    expected = torch.cat([model(part) for part in parts]).argmax(dim=1) != labels
    if name == "DeepFool":
        assert (expected | ~result.broken).all()
        expected = result.broken
    assert torch.equal(result.broken, expected)
    assert expected.any() or name == "VANILA"
    found = expected.nonzero().squeeze(1)
    assert torch.allclose(result.adversarial[found], alone[found], atol=1e-5)


@pytest.mark.parametrize("name", ["OnePixel", "Pixle", "SparseFool"])
def test_images_attacked_one_by_one_do_not_know_their_batch(name: str) -> None:
    model, images, labels = coloured_images(5)
    whole = run_attack(model, images, labels, attack_table(name), seed=1)
    alone = run_attack(model, images[3:4], labels[3:4], attack_table(name), seed=1)
    assert torch.equal(whole.adversarial[3], alone.adversarial[0])
    assert whole.forwards[3] == alone.forwards[0] - int(name == "SparseFool")
    assert whole.broken_at_step[3] == alone.broken_at_step[0]


@pytest.mark.parametrize("name", ["OnePixel", "GN", "Square"])
def test_seeds_repeat_and_matter(name: str) -> None:
    model, images, labels = coloured_images(4)
    table = attack_table(name, **LOOSE[name])
    one, same, other = (run_attack(model, images, labels, table, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.adversarial, same.adversarial)
    assert not torch.equal(one.adversarial, other.adversarial)


@pytest.mark.parametrize(
    "table",
    [
        {"name": "Square", "eps": 0.15, "n_queries": 150},
        {"name": "APGD", "eps": 0.08, "n_restarts": 3},
        {"name": "PGDRS", "noise_sd": 0.02},
        {"name": "DeepFool", "steps": 5},
        {"name": "SPSA"},
    ],
)
@pytest.mark.usefixtures("no_second_look")
def test_every_image_pays_for_its_own_forwards(table: dict[str, Any]) -> None:
    """Each point the model sees belongs to the nearest clean image, and is counted there."""
    model, images, _ = trained()
    images = images[:12]
    labels = model(images).argmax(dim=1)
    spent = torch.zeros(12, dtype=torch.int64)

    def note(points: Tensor) -> Tensor:
        nearest = torch.cdist(points.flatten(1), images.flatten(1)).argmin(dim=1)
        spent.add_(nearest.bincount(minlength=12))
        return points

    spec = {**table, "name": PREFIX + table["name"]}
    with torch.no_grad():
        result = run_attack(Wrapped(model, before=note), images, labels, spec)
    assert torch.equal(result.forwards, spent)


def test_gradients_of_any_layout_are_taken() -> None:
    """PGDL2 flattens the gradient, which has the layout of the model's first convolution."""
    images = coloured_images(6)[1]
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 10))
    net = net.to(memory_format=torch.channels_last)
    labels = net(images).argmax(dim=1)
    result = run_attack(net, images, labels, {"name": "torchattacks.PGDL2", "eps": 3.0})
    assert result.broken.any()
