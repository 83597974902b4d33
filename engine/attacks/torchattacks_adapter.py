"""Attacks of the torchattacks library, behind guards.

The library trusts its caller with modes, seeds, ranges and success; here it gets a monitored
copy of the model's interface, a forked generator and no say in the verdict. Its random starts
come from that generator for a whole batch, so unlike our own attacks their examples depend on
the batch an image is in.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from engine.attacks.ball import linf_bounds
from engine.attacks.guard import arithmetic, forked_rng
from engine.attacks.noise import batch_seed
from engine.attacks.outputs import Look, Outputs
from engine.attacks.search import Search
from engine.errors import AttackError

PREFIX = "torchattacks."
_ROUNDING = 2.0**-23
"""What float32 pixels in [0, 1] may miss a bound by through rounding alone."""


class TorchattacksAttack:
    """Run ``torchattacks.<class_name>``.

    Args:
        class_name: a class of the library, for example ``PGD``.
        parameters: arguments of its constructor after the model.
    """

    def __init__(self, class_name: str, **parameters: Any) -> None:
        self.class_name, self.parameters = class_name, parameters

    def __repr__(self) -> str:
        given = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f"TorchattacksAttack({self.class_name!r}{given})"

    def run(self, search: Search) -> None:
        """Attack the survivors, in halves of the batch if the GPU memory does not hold it."""
        library_class = self._library_class()
        waiting = [search.survivors()]
        while waiting:
            rows = waiting.pop()
            try:
                self._attack(library_class, search, rows)
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                torch.accelerator.empty_cache()
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]

    def _library_class(self) -> Any:
        try:
            library = importlib.import_module("torchattacks")
        except ModuleNotFoundError:
            raise AttackError(
                f"{PREFIX}{self.class_name} needs torchattacks, which is not installed.",
                "Run: pip install --no-deps torchattacks==3.5.1",
            ) from None
        found = getattr(library, self.class_name, None)
        if found is None:
            raise AttackError(f"The library torchattacks has no attack {self.class_name!r}.")
        return found

    def _attack(self, library_class: Any, search: Search, rows: Tensor) -> None:
        monitor = _Monitor(search, rows)
        images, labels = search.images[rows].clone(), search.labels[rows].clone()
        seed = batch_seed(images, labels, search.seed)
        with forked_rng(seed), arithmetic(images.device):
            try:
                attack = library_class(monitor, **self.parameters)
                found = attack(images, labels)
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, ValueError, TypeError, IndexError, ArithmeticError) as error:
                raise AttackError(
                    f"{PREFIX}{self.class_name} failed on this model: {error}.",
                    "Check its parameters, the number of classes and the model's gradients.",
                ) from error
        monitor.settle()
        points = self._as_points(found, search, rows)
        last = monitor.first + max(monitor.calls, 1)
        look = search.judge(rows, points, last)
        monitor.date(last)
        search.emit(last, look, 0.0)

    def _as_points(self, found: Any, search: Search, rows: Tensor) -> Tensor:
        """The library's answer as points; pulls back what only rounding put outside."""
        images = search.images[rows]
        if not isinstance(found, Tensor) or found.shape != images.shape:
            raise AttackError(f"{PREFIX}{self.class_name} did not return one image per image.")
        points = found.detach().to(images).clone()
        if search.threat.norm != "Linf" or search.threat.eps is None:
            return points
        lower, upper = linf_bounds(images, search.threat.eps)
        pulled = torch.clamp(points, lower, upper)
        return torch.where((pulled - points).abs() <= _ROUNDING, pulled, points)


class _Monitor(nn.Module):
    """The attack view as the library sees it: counts, reports and stops.

    A wrapper instead of hooks on the model, so that nothing has to be taken off again.
    """

    def __init__(self, search: Search, rows: Tensor) -> None:
        super().__init__()
        self.view = search.view
        # The library reads the device from the first parameter; own ones come first.
        self.anchor = nn.Parameter(torch.empty(0, device=search.images.device), requires_grad=False)
        self.training = False
        self._search, self._rows = search, rows
        self.first, self.calls = search.step, 0
        self._loose_forwards = self._loose_backwards = 0
        self._wrong_since = torch.full_like(rows, -1)

    def forward(self, images: Tensor) -> Tensor:
        self._search.check_stop()
        with arithmetic(images.device, bf16=self._search.bf16):
            logits: Tensor = self.view(images).float()
        copies, rest = divmod(len(images), max(len(self._rows), 1))
        if rest:
            self._loose_forwards += len(images)
        else:
            self._search.forwards[self._rows] += copies
        if logits.requires_grad:
            logits.register_hook(self._count_backward)  # type: ignore[no-untyped-call]
        if copies == 1 and not rest:
            self._report(logits.detach())
        return logits

    def settle(self) -> None:
        """Share forwards and backwards that belong to no single image out evenly."""
        count = len(self._rows)
        self._search.forwards[self._rows] += -(-self._loose_forwards // count)
        self._search.backwards[self._rows] += -(-self._loose_backwards // count)

    def date(self, last: int) -> None:
        """Say since when the images that were judged broken had been misclassified."""
        won = self._search.broken[self._rows]
        since = torch.where(self._wrong_since < 0, last, self._wrong_since)
        self._search.broken_at_step[self._rows[won]] = since[won]

    def _count_backward(self, gradient: Tensor) -> None:
        copies, rest = divmod(len(gradient), len(self._rows))
        if rest:
            self._loose_backwards += len(gradient)
        else:
            self._search.backwards[self._rows] += copies

    def _report(self, logits: Tensor) -> None:
        """One forward over the whole batch shows one iterate; the first is the start point."""
        labels = self._search.labels[self._rows]
        wrong = Outputs.of(logits).predictions != labels
        step = self.first + max(self.calls, 1)
        fresh = torch.where(self._wrong_since < 0, step, self._wrong_since)
        self._wrong_since = torch.where(wrong, fresh, -1)
        if self.calls:
            look = Look.at(logits, labels)
            self._search.emit(step, look, 0.0, believed=int(wrong.sum()))
        self.calls += 1
