"""Models of the catalogue that fail, each in its own way, for tests of the engine.

``install`` adds them beside the bundled ones, in this process; ``enter`` is the entry of a
worker process that has them, too.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, models
from engine.models.architectures.digits_resnet import digits_resnet
from engine.models.registry import BUILDERS
from engine.process import client, worker
from engine.process.commands import Settings

HEALTHY = "digits-resnet-at"
POISON = 0.24681
"""A corner pixel of this value, which no digit has and no step meets, makes a model act up."""

HANGS = "CRUMPLE_TEST_HANGS"
"""Names the file that appears when a model hangs."""

_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 400000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
ERRORS: dict[str, Callable[[], Exception]] = {
    "cpu": lambda: RuntimeError(_ALLOCATOR),
    "python": MemoryError,
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
}
ILLEGAL = "CUDA error: an illegal memory access was encountered"


def poisoned(images: Tensor) -> Tensor:
    """(N) bool: which images carry the mark; an attack moves the corner and so rubs it out."""
    return images[:, 0, 0, 0] == torch.tensor(POISON)


def _nan_where(marked: Tensor, logits: Tensor) -> Tensor:
    return torch.where(marked[:, None], torch.nan, logits)


def _on_mark(act: Callable[[], Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Do it as soon as a marked image passes."""

    def trick(images: Tensor, logits: Tensor) -> Tensor:
        if poisoned(images).any():
            act()
        return logits

    return trick


def _hang() -> None:
    """For ever; the file says that it has begun."""
    Path(os.environ[HANGS]).touch()
    threading.Event().wait()


def _raise(error: Exception) -> None:
    raise error


def _one_more_for_odd_batches(images: Tensor, logits: Tensor) -> Tensor:
    return nn.functional.pad(logits, (0, len(images) % 2))


def _masked(_: Tensor, logits: Tensor) -> Tensor:
    return logits.index_fill(1, torch.tensor([3]), -torch.inf)


def _hungry(limit: int, error: str) -> Callable[[Tensor, Tensor], Tensor]:
    def trick(images: Tensor, logits: Tensor) -> Tensor:
        if len(images) > limit:
            raise ERRORS[error]()
        return logits

    return trick


TRICKS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "nan-all": lambda images, logits: logits * torch.nan,
    "nan-some": lambda images, logits: _nan_where(poisoned(images), logits),
    "raise": _on_mark(lambda: _raise(ValueError("this image is beyond me"))),
    "one-class": lambda images, logits: logits[:, :1],
    "tuple": lambda images, logits: (logits, images),
    "image-shaped": lambda images, logits: logits[:, :, None, None],
    "one-row": lambda images, logits: logits[:1],
    "twice": lambda images, logits: logits.repeat(2, 1),
    "classes-by-batch": _one_more_for_odd_batches,
    "late-one-row": lambda images, logits: logits[:1] if len(images) == 7 else logits,
    "late-tuple": lambda images, logits: (logits,) if len(images) == 7 else logits,
    "masked": _masked,
    "hang": _on_mark(_hang),
    "lose-device": _on_mark(lambda: _raise(torch.AcceleratorError(f"{ILLEGAL}\nmore words"))),
    "exit": _on_mark(lambda: os._exit(3)),
    "kill": _on_mark(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    **{f"hungry-{error}": _hungry(8, error) for error in ERRORS},
    **{f"starving-{error}": _hungry(0, error) for error in ERRORS},
    **{
        f"starved-{name}": _on_mark(lambda make=make: _raise(make()))
        for name, make in ERRORS.items()
    },
}


class _Trap(nn.Sequential):
    """The bundled network, with a trick played on its outputs."""

    def __init__(self, trick: str, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.trick = trick

    def forward(self, images: Tensor) -> Any:
        return TRICKS[self.trick](images, super().forward(images))


def _builder(trick: str) -> Callable[[tuple[int, int, int], int], nn.Module]:
    return lambda shape, classes: _Trap(trick, *digits_resnet(shape, classes))


def install(patch: pytest.MonkeyPatch) -> None:
    """Put a model for every trick into the catalogue; the weights are those of ``HEALTHY``.

    The fingerprint is made up, so that none shares its variants with another.
    """
    healthy = catalog.model_card(HEALTHY)
    # Cards of a library are read again in place of those known before; bundled ones stay.
    patch.setattr(catalog.models.cards._library, "_seen", None)
    patch.setattr(catalog.models.cards._library, "_cards", {})
    for trick in TRICKS:
        fields = {"id": trick, "architecture": trick, "fingerprint": trick}
        patch.setitem(catalog.models.cards._bundled(), trick, healthy.model_copy(update=fields))
        patch.setitem(BUILDERS, trick, _builder(trick))
    patch.setattr("engine.pipeline.variants.load_model", _load)
    # They have no files of their own that the card could be compared with.
    patch.setattr("engine.pipeline.admission.check_card", lambda _card: None)


def _load(card: catalog.ModelCard) -> nn.Module:
    model = models.load(catalog.model_card(HEALTHY))
    if card.architecture in TRICKS:
        trap = BUILDERS[card.architecture](card.shape, card.classes)
        trap.load_state_dict(model.state_dict())
        return trap.eval()
    return models.load(card)


def enter(connection: Connection, settings: Settings) -> None:
    """What ``engine.process.client`` runs in its child process in place of its own entry."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        worker.main(connection, settings)


def install_in_workers(patch: pytest.MonkeyPatch) -> None:
    """As ``install``, and the same in every worker process that is started."""
    install(patch)
    patch.setattr(client, "_enter", enter)
