"""What must not matter to a verdict, and what must come back as it was; every attack we wrote."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.attacks import StepPoint, autoattack, run_attack
from engine.attacks.base import Attack
from engine.attacks.registry import REGISTRY
from engine.catalog.attacks.ball import NormParams
from engine.errors import Cancelled
from tests.helpers.attack_budgets import with_budgets
from tests.helpers.attack_models import Affine, small_net, trained

LINF, L2 = {"norm": "Linf", "eps": 0.08}, {"norm": "L2", "eps": 0.45}
SPECS: dict[str, dict[str, Any]] = {
    "fgsm": {"eps": 0.08},
    "pgd": {"eps": 0.08, "steps": 6, "restarts": 2},
    "pgd targets": {"eps": 0.08, "steps": 6, "targets": 2},
    "pgd-l2": {"eps": 0.45, "steps": 6, "restarts": 2},
    "pgd-l2 targets": {"eps": 0.45, "steps": 6, "targets": 2},
    "fb-pgd": {"eps": 0.08, "steps": 6},
    "apgd-ce": {**LINF, "steps": 8, "restarts": 2},
    "apgd-ce L2": {**L2, "steps": 8, "restarts": 2},
    "apgd-ce targets": {**LINF, "steps": 8, "targets": 2},
    "apgd-dlr": {**LINF, "steps": 8, "restarts": 2},
    "apgd-dlr L2": {**L2, "steps": 8, "restarts": 2},
    "apgd-t": {**LINF, "steps": 8, "targets": 2},
    "apgd-t L2": {**L2, "steps": 8, "targets": 2},
    "fab-t": {**LINF, "steps": 6, "targets": 2},
    "fab-t L2": {**L2, "steps": 6, "targets": 2},
    "square": {**LINF, "n_queries": 30},
    "square L2": {**L2, "n_queries": 30},
    "autoattack": LINF,
    "autoattack L2": L2,
    "cw-l2": {"steps": 12, "step_size": 0.15, "initial_const": 0.1, "binary_search_steps": 3},
    "ddn": {"steps": 12},
    "fmn": {"steps": 12},
    "fmn Linf": {"norm": "Linf", "steps": 12},
    "deepfool": {"steps": 8},
    "deepfool Linf": {"norm": "Linf", "steps": 8},
}
SHORT = {"steps": 6, "n_queries": 25, "targets": 2}
"""Of the parts of AutoAttack, which has no budgets of its own."""
BOUNDED = [name for name, params in SPECS.items() if "eps" in params]

every_attack = pytest.mark.parametrize("name", list(SPECS))
quick = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def spec_of(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name.split()[0], **SPECS[name], **changes}


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = autoattack.parts

    def shortened(ball: NormParams) -> tuple[Attack[Any], ...]:
        return tuple(with_budgets(attack, SHORT) for attack in parts(ball))

    monkeypatch.setattr("engine.attacks.autoattack.parts", shortened)


def test_every_attack_of_the_registry_is_tested() -> None:
    assert {name.split()[0] for name in SPECS} == set(REGISTRY)


# Where an example is made by the sign of a gradient, and where noise, windows and targets are
# those of the image, it is the same bit by bit, except that several restarts of few survivors
# share a batch and then the closest of their examples is kept. Lengths of gradients and sums of
# logits carry the last bit of a matrix product, which depends on the number of rows; a walk
# along a boundary amplifies it. So there the verdict is asserted alone, and of attacks that look
# for the closest example its distance.


@every_attack
@pytest.mark.parametrize("size", [1, 7, 64])
@settings(quick, max_examples=1)
@given(data=st.data())
def test_neither_batch_nor_order_changes_a_verdict(name: str, size: int, data: Any) -> None:
    model, images, labels = trained()
    count = 64 if size > 1 else 16
    first, seed = data.draw(st.integers(0, 300)), data.draw(st.integers(0, 2**31))
    images, labels = images[first : first + count], labels[first : first + count]
    order = torch.tensor(data.draw(st.permutations(range(count))))
    whole = run_attack(model, images, labels, spec_of(name), seed=seed)
    parts = [
        run_attack(model, images[rows], labels[rows], spec_of(name), seed=seed)
        for rows in order.split(size)
    ]
    broken = torch.cat([part.broken for part in parts])
    assert torch.equal(broken, whole.broken[order])
    clean = torch.cat([part.clean_predictions for part in parts])
    assert torch.equal(clean, whole.clean_predictions[order])
    if name not in BOUNDED:
        distance = torch.cat([part.distance for part in parts])
        found = distance.isfinite()
        assert torch.allclose(distance[found], whole.distance[order][found], rtol=1e-2)


@pytest.mark.parametrize("name", BOUNDED)
def test_eps_zero_is_the_identity(name: str) -> None:
    model, images, labels = trained()
    images, labels = images[:20], labels[:20].clone()
    labels[::5] = (labels[::5] + 1) % 10
    result = run_attack(model, images, labels, spec_of(name, eps=0))
    assert torch.equal(result.adversarial, images)
    assert torch.equal(result.broken, model(images).argmax(dim=1) != labels)
    assert not result.l2.any()
    assert not [note for note in result.notes if "Broken by each part" not in note]


@every_attack
@quick
@given(
    eps=st.sampled_from([1e-6, 1 / 255, 0.1, 0.7, 1.0]),
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(2, 3, 3), (1, 1, 1), (1, 5, 2)]),
    classes=st.sampled_from([2, 3, 4, 10]),
)
def test_examples_are_inside_and_as_told(
    name: str, eps: float, seed: int, shape: tuple[int, int, int], classes: int
) -> None:
    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(seed))
    images[images < 0.2], images[images > 0.8] = 0.0, 1.0
    model = Affine(classes, shape, seed)
    labels = model(images).argmax(dim=1)
    result = run_attack(
        model, images, labels, spec_of(name, **({"eps": eps} if name in BOUNDED else {})), seed=seed
    )
    found = result.adversarial
    assert found.isfinite().all()
    assert ((found >= 0) & (found <= 1)).all()
    delta = (found.double() - images.double()).flatten(1)
    lengths = {"Linf": delta.abs().amax(dim=1), "L2": delta.norm(dim=1)}
    if name in BOUNDED:
        assert (lengths[result.norm] <= eps * (1 + 1e-6)).all()
    assert torch.allclose(result.l2.double(), lengths["L2"], atol=1e-6)
    assert torch.allclose(result.linf.double(), lengths["Linf"], atol=1e-6)
    assert torch.equal(model(found).argmax(dim=1) != labels, result.broken)
    assert not [note for note in result.notes if "Attack failure" in note]


class _Odd(nn.Module):
    """Draws from every global generator in its forward, and fails at one call of it."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        self.net = small_net()
        self.calls, self.fail_at = 0, fail_at

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        torch.rand(1), np.random.rand(), random.random()
        if self.calls == self.fail_at:
            raise KeyError("broken model")
        logits: Tensor = self.net(images)
        return logits


def _state(*models: nn.Module) -> list[Any]:
    return [
        [part.training for model in models for part in model.modules()],
        [(p.requires_grad, p.grad is None) for model in models for p in model.parameters()],
        [t.tolist() for model in models for t in model.state_dict().values()],
        [len(part._forward_hooks) for model in models for part in model.modules()],
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()),
    ]


@every_attack
@pytest.mark.parametrize("where", ["nowhere", "model", "view", "observer", "stop"])
@settings(quick, max_examples=2)
@given(call=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_nothing_is_left_behind(name: str, where: str, call: int, seed: int) -> None:
    _, images, _ = trained()
    images = images[:5].clone()
    model, view = (_Odd(call if where == part else 0).train() for part in ("model", "view"))
    for part in (model, view):
        part.net[1].eval()
        next(part.parameters()).requires_grad_(False)
    with torch.no_grad():
        labels = small_net().eval()(images).argmax(dim=1)
    left = [call]

    def count() -> bool:
        left[0] -= 1
        return left[0] == 0

    def observe(point: StepPoint) -> None:
        if where == "observer" and count():
            raise KeyError("broken observer")

    before, kept = _state(model, view), (images.clone(), labels.clone())
    try:
        run_attack(
            model,
            images,
            labels,
            spec_of(name),
            view=view,
            seed=seed,
            observer=observe,
            should_stop=lambda: where == "stop" and count(),
        )
        raised = ""
    except (KeyError, Cancelled) as error:
        raised = type(error).__name__
    assert raised in {"nowhere": [""], "stop": ["Cancelled", ""]}.get(where, ["KeyError", ""])
    if call == 1 and where not in ("nowhere", "view"):
        assert raised
    assert _state(model, view) == before
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
