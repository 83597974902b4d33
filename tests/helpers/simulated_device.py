"""A device that is not there: torch code meant for a GPU runs on the CPU under a GPU's rules.

    with SimulatedDevice(memory=2**20) as gpu:
        model.to("cuda:0")(torch.rand(8, 3, 32, 32, device="cuda"))
        print(gpu.launches, gpu.waits)

Inside, tensors "on the device" are ordinary CPU tensors whose storage is on a list. So every
number is that of the CPU, bit for bit, and what a GPU would not allow fails as there:

- operations on tensors of two devices (0-dim CPU tensors may stand in pointwise operations, and
  CPU indices beside a tensor of the device, as in torch), and ``numpy()`` of a tensor there;
- more memory than the device has: ``torch.OutOfMemoryError``;
- float64 where the device knows none;
- everything after ``gpu.lost = "an illegal memory access was encountered"``.

It counts ``launches``, operations that start kernels, and ``waits``: where the host waits until
the device is done, with the line of the engine that asked. It knows nothing of time.

A ``TorchDispatchMode`` sees every operation below autograd: it refuses, counts, and puts the
storage of results on the list. What the operations themselves do not tell, such as where a
tensor is asked to go, is read from patched entry points of torch (``Tensor.device``, ``Tensor.to``,
``torch.zeros``, ``torch.accelerator``...). One thread, and nothing that leaves Python's torch API.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")

_FACTORIES = (
    *("zeros", "ones", "empty", "full", "rand", "randn", "eye", "tensor", "as_tensor"),
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
    *("arange", "linspace", "randint", "randperm", "empty_strided"),
)
_NEW = ("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor")
_EMPTY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_")
_NO_KERNEL = frozenset(
    (*_EMPTY, "detach", "alias", "lift_fresh", "set_", "_local_scalar_dense", "_unsafe_view")
)
_SIZE_FROM_VALUES = ("nonzero", "masked_select", "bincount", "_unique2", "unique_dim")
_READS_BACK = frozenset((*_SIZE_FROM_VALUES, "_local_scalar_dense", "equal", "repeat_interleave"))
"""Operations whose value, or the size of whose result, the host must know."""
_FILLING = ("masked_fill", "masked_fill_", "fill_", "index_put", "index_put_", "_index_put_impl_")
_TAKES_CPU_SCALARS = frozenset((*_FILLING, "where", "lerp", "clamp", "clamp_"))
_INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_"))
_SWEEP = 4096
"""Storages on the list after which those that are gone are struck off."""


class _Move(torch.autograd.Function):
    """A copy on another device; its gradient goes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, gpu: SimulatedDevice, place: torch.device) -> Tensor:
        ctx.gpu, ctx.back = gpu, gpu.place_of(tensor)
        return gpu.copied(tensor, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ctx.gpu.copied(gradient, ctx.back), None, None


class SimulatedDevice(TorchDispatchMode):
    """The device, as a context manager.

    Args:
        kind: of device, ``cuda`` or another that torch knows.
        count: of devices, ``cuda:0``, ``cuda:1`` ...
        memory: bytes of each; None is endless.
        float64: whether it knows float64.
        capability: compute capability; from 8 on it has matrix units for bfloat16.

    Attributes:
        launches: operations that started kernels.
        waits: times that the host waited, by kind and line of the engine.
        lost: why every further call fails; empty while the device works.
        emptied: calls of ``torch.accelerator.empty_cache``.
    """

    def __init__(
        self,
        kind: str = "cuda",
        *,
        count: int = 1,
        memory: int | None = None,
        float64: bool = True,
        capability: tuple[int, int] = (7, 5),
    ) -> None:
        super().__init__()
        self.kind, self.count, self.memory = kind, count, memory
        self.float64, self.capability = float64, capability
        self.launches, self.emptied, self.lost = 0, 0, ""
        self.waits: Counter[tuple[str, str]] = Counter()
        self._places: dict[int, tuple[StorageWeakRef, int, int]] = {}
        self._used, self._plain = 0, 0
        self._stack = ExitStack()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # it would be imported, which takes seconds, to be told to keep out

    def __enter__(self) -> SimulatedDevice:
        self._stack = ExitStack()
        for owner, name, new in _patches(self):
            self._stack.enter_context(mock.patch.object(owner, name, new, create=True))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    # -- where tensors are -----------------------------------------------------------------

    def number(self, device: Any) -> int | None:
        """Which of these devices is meant; None if it is another, such as the CPU."""
        if device is None:
            return None
        device = torch.device(device) if not isinstance(device, int) else torch.device(
            self.kind, device)  # fmt: skip
        if device.type != self.kind:
            return None
        if (device.index or 0) >= self.count:
            raise RuntimeError(f"{self.kind.upper()} error: invalid device ordinal")
        return device.index or 0

    def place_of(self, tensor: Tensor) -> torch.device:
        """The device that a tensor says it is on."""
        number = self._number_of(tensor)
        return _DEVICE(tensor) if number is None else torch.device(self.kind, number)

    def allocated(self) -> int:
        """Bytes in use on all devices."""
        self._places = {k: entry for k, entry in self._places.items() if not entry[0].expired()}
        return sum(size for _, _, size in self._places.values())

    def _number_of(self, tensor: Tensor) -> int | None:
        if _DEVICE(tensor).type != "cpu" or tensor.layout != torch.strided:
            return None
        entry = self._places.get(tensor.untyped_storage()._cdata)
        return None if entry is None else entry[1]

    def hold(self, tensor: Tensor, number: int) -> Tensor:
        """Put the storage of a tensor on the list of what the device holds."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._places or tensor.layout != torch.strided:
            return tensor
        if not self.float64 and tensor.dtype == torch.float64:
            raise TypeError(f"Cannot convert a tensor to float64: {self.kind} does not support it.")
        size = storage.nbytes()
        room = float("inf") if self.memory is None else self.memory
        if len(self._places) > _SWEEP or self._used + size > room:
            self._used = self.allocated()
            if self._used + size > room:
                raise torch.OutOfMemoryError(f"{self.kind} out of memory: tried to allocate {size}")
        self._used += size
        self._places[storage._cdata] = StorageWeakRef(storage), number, size
        return tensor

    def copied(self, tensor: Tensor, place: torch.device) -> Tensor:
        """A copy on a device; the host waits for it, as its memory is not pinned."""
        self._check_alive()
        number, before = self.number(place), self._number_of(tensor)
        if number is not None or before is not None:
            self.wait("to device" if before is None else "to host")
        self._plain += 1
        try:
            copy = tensor.detach().clone()
        finally:
            self._plain -= 1
        return copy if number is None else self.hold(copy, number)

    def wait(self, kind: str) -> None:
        """The host waits."""
        self.waits[kind, _line()] += 1

    def _check_alive(self) -> None:
        if self.lost:
            raise torch.AcceleratorError(f"{self.kind.upper()} error: {self.lost}")

    # -- operations ------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        numbers = {self._number_of(one) for one in tensors} - {None}
        if self._plain or not numbers:
            return func(*args, **kwargs)
        self._check_alive()
        name = func._schema.name.split("::")[1]
        self._refuse_mixture(func, name, tensors)
        if name in _READS_BACK or _has_mask(name, args):
            self.wait(name)
        if not func.is_view and name not in _NO_KERNEL:
            self.launches += 1
        found = func(*args, **kwargs)
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self.hold(one, min(numbers))
        return found

    def _refuse_mixture(self, func: Any, name: str, tensors: list[Tensor]) -> None:
        places = [self._number_of(one) for one in tensors]
        if name == "copy_":
            if None in places:
                self.wait("to host" if places[0] is None else "to device")
            return
        scalars = name in _TAKES_CPU_SCALARS or torch.Tag.pointwise in func.tags
        indexing = name in _INDEXING and places[0] is not None
        for one, number in zip(tensors, places, strict=True):
            allowed = (scalars and one.dim() == 0) or (
                indexing and one.dtype in (torch.int64, torch.bool, torch.uint8)
            )
            if number is None and not allowed:
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two "
                    f"devices, {self.kind}:0 and cpu (in {name})."
                )
            if number is None and indexing and one.dim():
                self.wait("to device")
        if len({number for number in places if number is not None}) > 1:
            raise RuntimeError(f"Expected all tensors to be on the same device (in {name}).")


def _has_mask(name: str, args: Any) -> bool:
    """Whether it indexes by a mask, whose ``True`` the host must count."""
    return name in _INDEXING and any(
        isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1]
    )


def _line() -> str:
    """The innermost line of the engine on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if "/engine/" in path and "/tests/" not in path and "/torch/" not in path:
            return f"{path.rpartition('/engine/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


# -- entry points of torch ---------------------------------------------------------------------

_DEVICE: Callable[[Tensor], torch.device] = torch._C.TensorBase.device.__get__  # type: ignore[attr-defined]


def _patches(gpu: SimulatedDevice) -> Iterator[tuple[Any, str, Any]]:
    yield from _tensor_patches(gpu)
    for name in _FACTORIES:
        yield torch, name, _factory(gpu, getattr(torch, name))
    for name in _NEW:
        yield Tensor, name, _factory(gpu, getattr(Tensor, name))
    kind = {"device_count": lambda: gpu.count, "is_available": lambda *_: True}
    accelerator = {
        **kind,
        "current_accelerator": lambda check_available=False: torch.device(gpu.kind),
        "empty_cache": lambda *_: setattr(gpu, "emptied", gpu.emptied + 1),
        "synchronize": lambda *_: gpu.wait("synchronize"),
    }
    own = {
        **kind,
        "is_initialized": lambda: True,
        "get_device_capability": lambda *_: gpu.capability,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda *_: None,
        "get_rng_state_all": list,
        "set_rng_state_all": lambda states: None,
        "manual_seed_all": lambda seed: None,
    }
    if gpu.kind == "cuda":
        own["get_device_name"] = lambda *_: "Simulated"
    for name, new in accelerator.items():
        yield torch.accelerator, name, new
    for name, new in own.items():
        yield torch.get_device_module(gpu.kind), name, new

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            where = "cpu" if device_type == gpu.kind else device_type
            super().__init__(where, *args, **kwargs)

    class Generator(torch.Generator):
        def __new__(cls, device: Any = None) -> Generator:
            return super().__new__(cls)

    yield torch, "autocast", Autocast
    yield torch, "Generator", Generator


def _tensor_patches(gpu: SimulatedDevice) -> Iterator[tuple[Any, str, Any]]:
    yield Tensor, "device", property(gpu.place_of)
    yield Tensor, "is_cuda", property(lambda self: gpu.place_of(self).type == "cuda")
    yield Tensor, "cpu", lambda self, *_, **__: self.to(CPU)
    yield Tensor, "cuda", lambda self, device=0, **_: self.to(torch.device("cuda", device or 0))
    for new in (_to, _numpy, _tolist, _deepcopy, _setitem):
        name = {_deepcopy: "__deepcopy__", _setitem: "__setitem__"}.get(new, new.__name__[1:])
        yield Tensor, name, _method(gpu, getattr(Tensor, name), new)
    yield Tensor, "__array__", _method(gpu, Tensor.__array__, _numpy)


def _method(gpu: SimulatedDevice, plain: Any, new: Callable[..., Any]) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return new(gpu, plain, self, *args, **kwargs)

    return method


def _to(gpu: SimulatedDevice, plain: Any, self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):  # the device and type of another
        args = (gpu.place_of(args[0]), args[0].dtype, *args[1:])
    if kwargs.get("device", 0) is None:
        del kwargs["device"]
    copy = kwargs.pop("copy", False)
    asked, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
    here, number = gpu.place_of(self), gpu.number(asked)
    place = here if asked is None else asked if number is None else torch.device(gpu.kind, number)
    moves = place != here and gpu.kind in (place.type, here.type)
    other = {"device": place} if not moves and place != here else {}  # such as meta
    changed: Tensor = plain(
        self,
        dtype=dtype or self.dtype,
        copy=copy,
        memory_format=layout or torch.preserve_format,
        **other,
    )
    return _Move.apply(changed, gpu, place) if moves else changed  # type: ignore[no-any-return, no-untyped-call]


def _numpy(gpu: SimulatedDevice, plain: Any, self: Tensor, *args: Any, **kwargs: Any) -> Any:
    if gpu.place_of(self).type == gpu.kind:
        raise TypeError(f"can't convert a tensor on {gpu.place_of(self)} to numpy")
    return plain(self, *args, **kwargs)


def _tolist(gpu: SimulatedDevice, plain: Any, self: Tensor) -> Any:
    return plain(self if gpu.place_of(self).type != gpu.kind else self.to(CPU))


def _deepcopy(gpu: SimulatedDevice, plain: Any, self: Tensor, memo: Any) -> Tensor:
    copy: Tensor = plain(self, memo)
    place = gpu.place_of(self)
    return copy if place.type != gpu.kind else gpu.hold(copy, place.index)


def _setitem(gpu: SimulatedDevice, plain: Any, self: Tensor, index: Any, value: Any) -> None:
    rows = index[0] if isinstance(index, tuple) else index
    if (
        gpu.place_of(self).type == gpu.kind
        and not isinstance(value, Tensor)
        and isinstance(rows, Tensor)
        and rows.dtype == torch.int64
    ):
        gpu.wait("number to device")  # at integer rows it is made a tensor of the CPU first
    plain(self, index, value)


def _factory(gpu: SimulatedDevice, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors, with a device of the simulation."""

    def made(*args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device")
        source = args[0] if args and isinstance(args[0], Tensor) else None
        if device is None and source is not None and make.__name__ != "tensor":
            device = gpu.place_of(source)
        number = gpu.number(device)
        if make.__name__ == "as_tensor" and source is not None:
            moved = source.to(device) if device is not None else source
            return moved.to(kwargs["dtype"]) if kwargs.get("dtype") else moved
        if number is None:
            return make(*args, **kwargs)
        gpu._check_alive()
        name = make.__name__
        if name in ("tensor", "as_tensor", "new_tensor"):
            gpu.wait("to device")
        elif "empty" not in name:
            gpu.launches += 1
        gpu._plain += 1
        try:
            found = make(*args, **{**kwargs, "device": CPU})
        finally:
            gpu._plain -= 1
        return gpu.hold(found, number)

    return made
