"""Which device is taken, what it is called, and which errors mean that its memory ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.attacks.losses import objectives
from engine.diagnostics import gradient_health
from engine.diagnostics.gradients import logits_and_gradient
from engine.errors import SpecError
from engine.host import device
from engine.host.memory import is_out_of_memory, memory_errors

NO_FLOAT64 = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it."
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that torch sees an accelerator, and that trying it out ends so."""

    def pretend(name: str, error: Exception | None = None, count: int = 1) -> None:
        def try_out(device: torch.device) -> None:
            if error is not None and device.type != "cpu":
                raise error

        place = torch.device(name)
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda check_available=False: place
        )
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        monkeypatch.setattr(device, "_try_out", try_out)
        monkeypatch.setattr(device, "_numbered", lambda it: torch.device(it.type, it.index or 0))

    return pretend


@pytest.mark.parametrize(
    "error",
    [TypeError(NO_FLOAT64), RuntimeError("Required aspect fp64 is not supported"), OSError()],
    ids=["apple", "intel", "driver"],
)
def test_auto_takes_no_accelerator_that_cannot_do_what_is_needed(
    accelerator: Callable[..., None], error: Exception
) -> None:
    accelerator("mps", error)
    assert device.resolve("auto") == torch.device("cpu")
    assert [name for name, _ in device.found()] == ["cpu"]


def test_an_accelerator_that_was_named_is_refused_with_the_reason(
    accelerator: Callable[..., None],
) -> None:
    accelerator("mps", TypeError(NO_FLOAT64))
    with pytest.raises(SpecError, match=r"'mps' cannot be used: .*float64.*Use auto, cpu"):
        device.resolve("mps")


def test_auto_takes_one_that_can_even_if_it_is_full(accelerator: Callable[..., None]) -> None:
    accelerator("xpu")
    assert device.resolve("auto") == torch.device("xpu:0")
    accelerator("xpu", torch.OutOfMemoryError("XPU out of memory."))
    assert device.resolve("auto") == torch.device("xpu:0")


def test_what_is_needed_is_really_tried() -> None:
    device._try_out(torch.device("cpu"))
    with pytest.raises(RuntimeError):
        device._try_out(torch.device("meta"))


def test_every_device_has_one_name() -> None:
    assert device.resolve("cpu:0") == device.resolve("cpu") == torch.device("cpu")


def test_a_device_without_a_name_is_described_by_its_number() -> None:
    assert not hasattr(torch.get_device_module("mps"), "get_device_name")
    assert device.describe(torch.device("mps:0")) == "mps:0"


def test_all_accelerators_are_found_with_their_names(
    accelerator: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    accelerator("cuda", count=2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: f"GPU {place.index}")
    cpu, *others = device.found()
    assert cpu[0] == "cpu"
    assert others == [("cuda:0", "cuda:0 GPU 0"), ("cuda:1", "cuda:1 GPU 1")]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(FULL),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        torch.AcceleratorError("HIP error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
        ),
        RuntimeError("CUDA error: CUBLASLT_STATUS_ALLOC_FAILED when calling `cublasLtCreate(h)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling ..."),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError(
            "level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:40]}",
)
def test_memory_that_ends_anywhere_is_one_error(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(torch.OutOfMemoryError), memory_errors():
        raise error
    assert not device.lost(error, torch.device("cpu"))


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        ValueError("out of memory"),
    ],
    ids=lambda error: f"{type(error).__name__} {str(error)[:40]}",
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised, memory_errors():
        raise error
    assert raised.value is error


def test_a_device_is_lost_if_its_runtime_says_so_or_if_it_computes_no_more(
    accelerator: Callable[..., None],
) -> None:
    gone = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nmore")
    library = RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED")
    gpu, cpu = torch.device("cuda:0"), torch.device("cpu")
    accelerator("cuda")
    assert device.lost(gone, gpu) == "CUDA error: an illegal memory access was encountered"
    assert not device.lost(library, gpu)
    accelerator("cuda", gone)
    assert "illegal memory access" in device.lost(library, gpu)
    assert not device.lost(library, cpu)


class InBackward(nn.Module):
    """Raises in the backward pass of more than five images."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.linear, self.error = nn.Linear(4, 3), error
        self.tried: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1))
        if logits.requires_grad:
            logits.register_hook(self._fail)
        return logits

    def _fail(self, gradient: Tensor) -> None:
        self.tried.append(len(gradient))
        if len(gradient) > 5:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
    ids=["cublas", "cudnn", "runtime"],
)
def test_memory_that_ends_in_a_backward_halves_the_batch(error: Exception) -> None:
    view = InBackward(error)
    images, labels = torch.rand(16, 1, 2, 2), torch.zeros(16, dtype=torch.int64)
    _, gradient = logits_and_gradient(view, images, labels, objectives.margin)
    assert gradient.shape == images.shape
    assert view.tried == [16, 8, 4, 4, 4, 4]


def test_an_illegal_access_in_a_backward_is_no_fault_of_the_view() -> None:
    view = InBackward(torch.AcceleratorError("CUDA error: an illegal memory access"))
    images, labels = torch.rand(16, 1, 2, 2), torch.zeros(16, dtype=torch.int64)
    with pytest.raises(torch.AcceleratorError):
        gradient_health(view, images, labels)
