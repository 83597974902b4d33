"""Models that round are searched in the arithmetic in which they are judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.attacks import run_attack
from engine.attacks.search.rounding import rounds
from engine.compression import Context, apply
from engine.evaluation.guard import arithmetic, forked_rng
from engine.specs.choices import Step
from tests.helpers.attack_models import Rounded, Wrapped, trained

ROUNDING: dict[str, Callable[[Tensor], Tensor]] = {
    "round": lambda x: (x * 16).round() / 16,
    "floor in place": lambda x: (x * 16).floor_() / 16,
    "bytes": lambda x: (x * 255).to(torch.uint8).float() / 255,
    "rounded division": lambda x: torch.div(x, 0.1, rounding_mode="floor") * 0.1,
    "fake": lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 15),
    "straight through": lambda x: Rounded(True)(x),
}


@pytest.mark.parametrize("kind", ROUNDING)
def test_rounding_is_found_and_searched_in_fp32(kind: str) -> None:
    net, images, labels = trained()
    model = Wrapped(net, before=ROUNDING[kind])
    assert rounds(model, images[:1])
    spec = {"name": "pgd", "eps": 0.1, "steps": 5}
    if kind == "bytes":
        spec = {"name": "apgd-dlr", "eps": 0.1, "steps": 5}
        model = Wrapped(net, before=lambda x: x + (ROUNDING[kind](x) - x).detach())
    asked = run_attack(model, images[:20], labels[:20], spec, precision="bf16")
    exact = run_attack(model, images[:20], labels[:20], spec, precision="fp32")
    assert asked.precision == "fp32"
    assert torch.equal(asked.adversarial, exact.adversarial)
    assert any("exact fp32" in note for note in asked.notes)


def test_what_does_not_round_is_searched_as_asked() -> None:
    net, images, labels = trained()
    assert not rounds(net, images[:1])
    assert run_attack(net, images[:9], labels[:9], "pgd", precision="bf16").precision == "bf16"


def test_quantised_activations_of_ours_are_found() -> None:
    net, images, _ = trained()
    step = Step(name="ptq", params={"bits": 4, "activation_bits": 4})
    variant = apply(net, (step,), Context(calibration=images[:64], seed=0))
    assert rounds(variant.attack_view(), images[:1])


@pytest.mark.parametrize("newer", [False, True])
def test_exact_fp32_knows_no_tf32_in_matrix_products(newer: bool) -> None:
    matmul = torch.backends.cuda.matmul
    name, on, off = ("fp32_precision", "tf32", "ieee") if newer else ("allow_tf32", True, False)
    before = matmul.fp32_precision if newer else matmul.allow_tf32
    setattr(matmul, name, on)
    try:
        with arithmetic(torch.device("cuda"), exact=True):
            assert getattr(matmul, name) == off
        assert getattr(matmul, name) == on
        with arithmetic(torch.device("cuda")):
            assert getattr(matmul, name) == on
    finally:
        setattr(matmul, name, before)


def test_the_generators_of_any_accelerator_are_seeded_and_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Other:
        """An accelerator with one generator, as Apple's: no ``manual_seed_all``."""

        generator = torch.Generator().manual_seed(7)
        is_available = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 1)

        @classmethod
        def manual_seed(cls, seed: int) -> None:
            cls.generator.manual_seed(seed)

        @classmethod
        def get_rng_state(cls, device: int = 0) -> Tensor:
            return cls.generator.get_state()

        @classmethod
        def set_rng_state(cls, state: Tensor, device: int = 0) -> None:
            cls.generator.set_state(state)

    where = torch.device("mps")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: where)
    monkeypatch.setattr(torch, "get_device_module", lambda _: Other)
    before = Other.generator.get_state()
    drawn = []
    for _ in range(2):
        with forked_rng(5):
            drawn.append(torch.rand(3, generator=Other.generator))
        assert torch.equal(Other.generator.get_state(), before)
    assert torch.equal(*drawn)
