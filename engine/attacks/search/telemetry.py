"""The curve of an attack, kept on the device until the search synchronises anyway."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks.search.outputs import Look
from engine.attacks.search.result import Observer, StepPoint
from engine.events import INTERVAL


@dataclass(frozen=True)
class _Note:
    """One step that was not read back yet, as ``Telemetry.note`` was told; all on the device."""

    step: int
    seconds: float
    part: str
    believed: Tensor | int
    look: Look
    step_size: float | Tensor
    spent: tuple[Tensor, Tensor]
    among: Tensor | None

    def values(self) -> Tensor:
        """(5) float64: mean cross-entropy, mean margin, step size, forwards and backwards."""
        size, device = self.step_size, self.look.loss.device
        if not isinstance(size, Tensor):
            # Filled on the device: copying a number there would wait for it.
            size = torch.full((), size, dtype=torch.float64, device=device)
        looks = torch.stack([self.look.cross_entropy, self.look.margin])
        rest = torch.stack([each.double() for each in (size, *self.spent)])
        return torch.cat([_finite_means(looks, self.among), rest])


class Telemetry:
    """Collects steps and hands them out, in order, when ``flush`` is called.

    Args:
        total: images in the call.
        observer: gets every point.
    """

    def __init__(self, total: int, observer: Observer | None) -> None:
        self.curve: list[StepPoint] = []
        self.started = time.perf_counter()
        self._total, self._observer = total, observer
        self._waiting: list[_Note] = []
        self._flushed = self.started

    @property
    def due(self) -> bool:
        """Whether news can be told on again: more often nobody would hear of them."""
        return time.perf_counter() - self._flushed >= INTERVAL

    @property
    def seconds(self) -> float:
        """Since the start of the call."""
        return time.perf_counter() - self.started

    def note(
        self,
        step: int,
        look: Look,
        step_size: float | Tensor,
        spent: tuple[Tensor, Tensor],
        part: str,
        believed: Tensor | int = 0,
        among: Tensor | None = None,
    ) -> None:
        """Take note of a step without waiting for the device; the arithmetic is left to ``flush``.

        Args:
            step: its number.
            look: at the points of the step.
            step_size: length of the step.
            spent: forwards and backwards so far of every image.
            part: which of several attacks is at work.
            believed: images that look broken, but will have no verdict before the flush.
            among: (M) bool, the points that count; all if None.
        """
        totals = spent[0].sum(), spent[1].sum()
        self._waiting.append(
            _Note(step, self.seconds, part, believed, look, step_size, totals, among)
        )

    def flush(self, broken_at_step: Tensor) -> None:
        """Read everything back at once and tell the observer.

        Args:
            broken_at_step: (N) of every image, -1 where it is not broken.
        """
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._flushed = time.perf_counter()
        known = broken_by(broken_at_step, [note.step for note in waiting])
        believed = [
            # Filled on the device: copying a number there would wait for it.
            one if isinstance(one, Tensor) else known.new_full((), one)
            for one in (note.believed for note in waiting)
        ]
        counts = (known + torch.stack(believed)).tolist()
        table = torch.stack([note.values() for note in waiting]).tolist()
        for note, count, row in zip(waiting, counts, table, strict=True):
            self._emit(note, count, row)

    def _emit(self, note: _Note, broken: int, values: list[float]) -> None:
        loss, margin, step_size, forwards, backwards = values
        point = StepPoint(
            step=note.step,
            total=self._total,
            broken=broken,
            active=self._total - broken,
            loss=loss,
            margin=margin,
            step_size=step_size,
            forwards=int(forwards),
            backwards=int(backwards),
            seconds=note.seconds,
            part=note.part,
        )
        self.curve.append(point)
        if self._observer is not None:
            self._observer(point)


def broken_by(broken_at_step: Tensor, steps: list[int]) -> Tensor:
    """(len(steps)) images broken at or before each step.

    Args:
        broken_at_step: (N) int64, -1 where an image is not broken.
        steps: in any order.
    """
    never = torch.iinfo(torch.int64).max
    ordered = torch.where(broken_at_step < 0, never, broken_at_step).sort().values
    return torch.searchsorted(ordered, torch.tensor(steps, device=ordered.device), right=True)


def _finite_means(values: Tensor, among: Tensor | None) -> Tensor:
    """Means over (R, M) of the finite values, 0 if there are none; float64, on the device."""
    counted = values.isfinite() if among is None else values.isfinite() & among
    totals = torch.where(counted, values, 0.0).sum(dim=1, dtype=torch.float64)
    return totals / counted.sum(dim=1).clamp(min=1)
