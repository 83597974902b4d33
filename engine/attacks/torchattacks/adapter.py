"""Attacks of the torchattacks library, behind guards.

The library trusts its caller with modes, seeds, ranges and success; here it gets a monitored
copy of the model's interface, a forked generator and no say in the verdict. Its random starts
come from that generator for a whole batch, so unlike our own attacks their examples depend on
the batch an image is in. Not so where a class goes from image to image: given one at a time it
costs the same, and every image gets its own random numbers, its own account and its own progress.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine import catalog
from engine.attacks.base import Attack
from engine.attacks.geometry.ball import l2_project, linf_bounds
from engine.attacks.search.noise import batch_seed
from engine.attacks.search.notes import LOST, Note
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.attacks.torchattacks.checks import refuse
from engine.attacks.torchattacks.monitor import Monitor
from engine.catalog import Params
from engine.catalog.attacks.torchattacks.minimum import span_ends
from engine.errors import AttackError
from engine.evaluation.guard import arithmetic, forked_rng
from engine.host.memory import give_back_device_memory, memory_errors

PREFIX = "torchattacks."

_TARGETS = 9
"""Classes that targeted attacks try at most, as in AutoAttack."""
_SPANS = ("x_dimensions", "y_dimensions")
_FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    ArithmeticError,
    AssertionError,
)
_ROUNDING = 2.0**-23
"""What float32 pixels in [0, 1] may miss a bound by through rounding alone."""


class TorchattacksAttack(Attack[Params]):
    """Run ``torchattacks.<class_name>``.

    Args:
        class_name: a class of the library, for example ``PGD``.
        params: arguments of its constructor after the model, under the library's names.
    """

    def __init__(self, class_name: str, params: Params) -> None:
        super().__init__(params)
        self.class_name = class_name

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors, in halves of the batch if the memory does not hold it."""
        library_class = self._library_class()
        traits = catalog.find("attacks", PREFIX + self.class_name).traits
        refuse(self.class_name, search, dict(self.params), traits)
        rows, first = search.survivors(), search.step
        waiting = list(torch.split(rows, 1 if "one by one" in traits else len(rows)))[::-1]
        lost = 0
        while waiting:
            rows = waiting.pop()
            full = False
            try:
                lost += self._attack(library_class, search, rows, first)
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                full = True
            if full:  # not inside ``except``, whose traceback holds on to the tensors
                give_back_device_memory()
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
        if lost:
            search.notes.append(Note(LOST, lost))

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

    def _attack(self, library_class: Any, search: Search, rows: Tensor, first: int) -> int:
        """Let the library attack some images; the number of examples that it lost again."""
        monitor = Monitor(search, rows, first)
        images, labels = search.images[rows].clone(), search.labels[rows].clone()
        seed = batch_seed(images, labels, search.seed)
        with forked_rng(seed), arithmetic(images.device, exact=search.exact):
            try:
                with memory_errors():
                    arguments = self._arguments(library_class, search, seed)
                    found = library_class(monitor, **arguments)(images, labels)
            except (torch.OutOfMemoryError, torch.AcceleratorError):
                raise  # of the device, not of the model
            except _FAILURES as error:
                raise AttackError(
                    f"{PREFIX}{self.class_name} failed on this model: {error}.",
                    "Check its parameters, the number of classes and the model's gradients.",
                ) from error
        monitor.settle()
        look = search.judge(rows, self._as_points(found, search, rows), monitor.last)
        monitor.date()
        # Images that are attacked one by one share one axis of steps.
        search.emit(max(monitor.last, search.step), look, 0.0)
        return int(monitor.lost.sum())

    def _arguments(self, library_class: Any, search: Search, seed: int) -> dict[str, Any]:
        """The parameters, and those that the library leaves to its caller and we own."""
        classes = search.clean.logits.shape[1]
        owned = {"seed": seed, "n_classes": min(classes, _TARGETS + 1)}
        accepted = inspect.signature(library_class).parameters
        return {
            **library_values(dict(self.params)),
            **{name: value for name, value in owned.items() if name in accepted},
        }

    def _as_points(self, found: Any, search: Search, rows: Tensor) -> Tensor:
        """The library's answer as points; pulls back what only rounding put outside the ball.

        Without a ball, what lies outside the box is cut at it: EAD moves its own copy of the
        clean image a little, and so every pixel at 0 or 1.
        """
        images, threat = search.images[rows], search.threat
        if not isinstance(found, Tensor) or found.shape != images.shape:
            raise AttackError(f"{PREFIX}{self.class_name} did not return one image per image.")
        points = found.detach().to(images).clone()
        if threat.eps is None:
            return points.clamp(0.0, 1.0)
        if threat.norm == "Linf":
            pulled = torch.clamp(points, *linf_bounds(images, threat.eps))
        else:
            pulled = l2_project(images, points, threat.eps)
        return torch.where((pulled - points).abs() <= _ROUNDING, pulled, points)


def library_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the catalogue as the library takes them: spans become pairs."""
    return {
        name: span_ends(value) if name in _SPANS else value for name, value in parameters.items()
    }
