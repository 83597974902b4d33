"""The step loop: what an accelerator needs of it, cycles, shared batches, and full memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.attacks import AttackResult, StepPoint, run_attack
from engine.attacks.search import batching
from engine.attacks.search.loop import SignStep
from tests.helpers.attack_models import Affine, Wrapped, trained

ATTACKS: list[dict[str, Any]] = [
    {"name": "pgd", "eps": 0.1, "steps": 20},
    {"name": "pgd-l2", "eps": 0.6, "steps": 20},
    {"name": "fb-pgd", "eps": 0.1, "steps": 20},
    {"name": "apgd-ce", "eps": 0.1, "steps": 20},
    {"name": "apgd-dlr", "eps": 0.1, "steps": 20},
    {"name": "apgd-t", "eps": 0.1, "steps": 20, "targets": 3},
    {"name": "fab-t", "eps": 0.1, "steps": 20, "targets": 3},
    {"name": "ddn", "steps": 40},
    {"name": "fmn", "steps": 40},
]
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "unique2")


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for an accelerator: results it has to read."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS or (name.startswith("index") and _has_mask(args)):
            self.count += 1
        return func(*args, **(kwargs or {}))


def _has_mask(args: Any) -> bool:
    chosen = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(each, Tensor) and each.dtype == torch.bool for each in chosen)


@pytest.fixture
def strided(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Run the CPU as if it were an accelerator with this stride."""

    def use(stride: int) -> None:
        monkeypatch.setattr("engine.attacks.search.search.stride_on", lambda device: stride)

    return use


def _count(model: nn.Module, images: Tensor, labels: Tensor, spec: dict[str, Any]) -> int:
    with pytest.MonkeyPatch.context() as patch, Waits() as waits:
        # Reads several numbers at once, past the dispatcher.
        plain = Tensor.tolist

        def tolist(self: Tensor) -> Any:
            waits.count += 1
            return plain(self)

        patch.setattr(Tensor, "tolist", tolist)
        run_attack(model, images, labels, spec)
    return waits.count


def _batch() -> tuple[Affine, Tensor, Tensor]:
    model = Affine(10, (1, 4, 4), seed=0)
    images = torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    return model, images, model(images).argmax(dim=1)


@pytest.mark.parametrize("spec", ATTACKS, ids=lambda spec: spec["name"])
def test_the_host_does_not_wait_for_a_step(
    spec: dict[str, Any], strided: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reports at every step that is due, however fast the machine is.
    monkeypatch.setattr("engine.attacks.search.telemetry.INTERVAL", 0.0)
    model, images, labels = _batch()
    # So weak that nothing breaks on the way, or every verdict would be a reason to wait.
    weak = {**spec, "eps": 1e-5} if "eps" in spec else spec
    growth = {}
    for stride in (10**6, 1):
        strided(stride)
        few, many = (_count(model, images, labels, {**weak, "steps": n}) for n in (20, 28))
        growth[stride] = many - few
    attempts = spec.get("targets", 1)
    assert growth[10**6] <= 0, "between 20 and 28 steps there is no synchronisation"
    assert growth[1] >= 8 * attempts, "the counter sees what synchronising every step costs"


@pytest.mark.parametrize("stride", [2, 8])
@pytest.mark.parametrize("spec", ATTACKS, ids=lambda spec: spec["name"])
def test_the_stride_does_not_change_what_breaks(
    spec: dict[str, Any], stride: int, strided: Callable[[int], None]
) -> None:
    model, images, labels = trained()
    images, labels = images[:60], labels[:60]
    plain = run_attack(model, images, labels, spec)
    strided(stride)
    fast = run_attack(model, images, labels, spec)
    assert torch.equal(fast.broken, plain.broken)
    if "eps" in spec:
        assert torch.equal(fast.broken_at_step >= 0, plain.broken_at_step >= 0)
    else:
        found = plain.broken & (plain.l2 > 0)
        assert torch.allclose(fast.l2[found].median(), plain.l2[found].median(), rtol=0.02)
    steps = [point.step for point in fast.curve]
    assert steps == sorted(steps)
    assert [p.broken for p in fast.curve] == sorted(p.broken for p in fast.curve)


def test_on_an_accelerator_the_batch_takes_few_sizes(strided: Callable[[int], None]) -> None:
    model, images, labels = trained()
    sizes = []

    def record(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch

    spec = {"name": "pgd", "eps": 0.1, "steps": 40}
    strided(4)
    result = run_attack(model, images, labels, spec, view=Wrapped(model, before=record))
    assert len(images) >= 200
    assert 20 < int((~result.broken).sum()) < len(images) - 50, "many images leave, many stay"
    shrunk = [size for size in sizes if size < sizes[0]]
    assert min(shrunk) < len(images) / 1.5
    assert all(size % 16 == 0 for size in shrunk), sizes


def test_restarts_share_a_batch_where_few_images_are_left() -> None:
    model, images, labels = trained()
    right = model(images).argmax(dim=1) == labels
    images, labels = images[right][:40], labels[right][:40]
    sizes: list[int] = []

    def record(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch

    spec = {"name": "apgd-t", "eps": 0.12, "steps": 15}
    result = run_attack(model, images, labels, spec, view=Wrapped(model, before=record))
    survivors = int((~result.broken).sum())
    assert 0 < survivors <= 20, "few enough to share"
    shared = [size for size in sizes if size >= 2 * survivors]
    assert shared, "several targets of an image were under attack at once"
    assert max(sizes) <= 64
    # Every target was tried on each survivor with all its steps.
    assert (result.backwards[~result.broken] == 9 * 15).all()
    alone = [
        bool(run_attack(model, images[i : i + 1], labels[i : i + 1], spec).broken)
        for i in range(12)
    ]
    assert result.broken[:12].tolist() == alone


def test_a_cycle_ends_the_search_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, labels = _batch()
    spec = {"name": "pgd", "eps": 0.03, "steps": 60, "step_size": 0.02}
    short = run_attack(model, images, labels, spec)
    monkeypatch.setattr(SignStep, "idle", lambda self: None)
    whole = run_attack(model, images, labels, spec)
    assert torch.equal(short.broken, whole.broken)
    assert torch.equal(short.adversarial, whole.adversarial)
    held = ~whole.broken
    assert held.any()
    assert (whole.backwards[held] == 60).all()
    # The gradient of an affine margin moves every pixel to its bound within three steps.
    assert (short.backwards[held] <= 20).all()


def test_a_random_model_never_counts_as_going_round() -> None:
    model, images, labels = _batch()
    noisy = Wrapped(model, after=lambda logits: logits + 1e-2 * torch.rand(len(logits), 1) * logits)
    spec = {"name": "pgd", "eps": 1e-3, "steps": 40, "step_size": 1e-3}
    result = run_attack(noisy, images, labels, spec)
    held = ~result.broken
    assert held.any()
    assert (result.backwards[held] == 40).all()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:113] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError(),
    ],
)
def test_full_memory_halves_the_batch_and_is_remembered(error: Exception) -> None:
    model, images, labels = _batch()
    tried = []

    def limit(batch: Tensor) -> Tensor:
        tried.append(len(batch))
        if len(batch) > 5:
            raise error
        return batch

    tight = Wrapped(model, before=limit)
    spec = {"name": "pgd", "eps": 0.05, "steps": 4}
    result = run_attack(tight, images, labels, spec)
    plain = run_attack(model, images, labels, spec)
    assert torch.equal(result.broken, plain.broken)
    assert tried[:3] == [16, 8, 4]
    assert max(tried[2:]) <= 4, "what fits is not asked for twice"
    tried.clear()
    run_attack(tight, images, labels, spec)
    assert max(tried) <= 4


def test_memory_that_not_even_one_image_fits_into_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        batching.in_chunks(nn.Identity(), 8, _full)


def test_other_errors_pass_through_at_once() -> None:
    calls = []

    def broken(part: slice) -> None:
        calls.append(part)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        batching.in_chunks(nn.Identity(), 8, broken)
    assert len(calls) == 1


def _full(part: slice) -> None:
    raise torch.OutOfMemoryError


def test_bf16_is_about_as_strong_as_fp32() -> None:
    model, images, labels = trained()
    for spec in ({"name": "pgd", "eps": 0.08}, {"name": "apgd-ce", "eps": 0.08, "steps": 40}):
        results: dict[str, AttackResult] = {
            precision: run_attack(model, images, labels, spec, precision=precision)
            for precision in ("fp32", "bf16")
        }
        broken = {name: int(result.broken.sum()) for name, result in results.items()}
        assert broken["bf16"] >= broken["fp32"] - max(2, 0.006 * len(images)), broken


def test_what_is_believed_counts_once_whatever_the_stride(strided: Callable[[int], None]) -> None:
    model, images, labels = trained()
    spec = {"name": "fb-pgd", "eps": 0.1, "steps": 10}
    told = {}
    for stride in (1, 8):
        strided(stride)
        points: list[StepPoint] = []
        run_attack(model, images[:60], labels[:60], spec, observer=points.append)
        told[stride] = [(point.step, point.broken, point.active) for point in points]
    assert told[8] == told[1]
    assert 0 < told[1][-1][1] < 60
