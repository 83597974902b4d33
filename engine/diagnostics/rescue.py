"""Which view an attack searches: the model's own, or a twin where its own gradients fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.diagnostics.averaged import FORWARDS, Averaged
from engine.diagnostics.examine import Report, examine
from engine.diagnostics.flags import Flag
from engine.diagnostics.straight_through import StraightThrough
from engine.errors import AttackError
from engine.memory import memory_errors

TWINS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "straight-through": StraightThrough,
    "averaged": Averaged,
}
_FATAL = {"no-gradient", "zero-gradient", "nonfinite-gradient"}
_DOUBTFUL = {"secants-disagree"}


@dataclass(frozen=True)
class Choice:
    """What the gate decided for a variant.

    Attributes:
        twins: keys of ``TWINS`` to wrap the attack view in, innermost first; mostly none.
        report: of the view so wrapped, and whether it was.
        random: two forwards of the deployed model differ.
    """

    twins: tuple[str, ...]
    report: Report
    random: bool = False


def wrapped(view: nn.Module, twins: Sequence[str]) -> nn.Module:
    """An attack view inside the twins that were chosen for it."""
    for twin in twins:
        view = TWINS[twin](view)
    return view


def choose_view(
    deployed: nn.Module,
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    parent_view: nn.Module | None = None,
) -> Choice:
    """Examine a variant; where its gradients fail or it is random, try twins of its view.

    A straight-through twin is taken if it has gradients where the view has none, or gradients
    that predict what happens where those of the view do not. A random model is averaged
    unless that makes its gradients worse. If no twin helps, the flags stay as they are.

    Args:
        deployed: the deployed model.
        view: its attack view.
        images: (N, C, H, W) clean images, float32 in [0, 1], on the models' device.
        labels: (N) int64.
        parent_view: the attack view of the base model, to compare gradients with.
    """
    own = examine(deployed, view, images, labels, parent_view)
    random = "random-output" in _ids(own)
    averaged = ("averaged",) if random else ()
    candidates = [("straight-through", *averaged)] if _trouble(own) else []
    candidates += [averaged] if random else []
    for twins in candidates:
        report = _try(deployed, wrapped(view, twins), images, labels, parent_view)
        if report is None or "view-disagrees" in _ids(report):
            continue
        gain = _trouble(own) - _trouble(report)
        if gain > 0 or (gain == 0 and twins == averaged):
            notes = tuple(_note(twin, own) for twin in twins)
            return Choice(twins, Report((*report.flags, *notes), report.numbers), random)
    return Choice((), own, random)


def _try(deployed: nn.Module, twin: nn.Module, *rest: Tensor | nn.Module | None) -> Report | None:
    """The report on a twin; None if the model cannot be run like that."""
    try:
        with memory_errors():
            return examine(deployed, twin, *rest)  # type: ignore[arg-type]
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (RuntimeError, TypeError, ValueError, AttackError):
        return None


def _ids(report: Report) -> set[str]:
    return {flag.id for flag in report.flags}


def _trouble(report: Report) -> int:
    """2 without a gradient to follow, 1 with one that leads nowhere, 0 with a healthy one."""
    return 2 if _ids(report) & _FATAL else 1 if _ids(report) & _DOUBTFUL else 0


def _note(twin: str, own: Report) -> Flag:
    if twin == "averaged":
        text = (
            f"The variant is random: searched on its mean logits over {FORWARDS} forwards. "
            "Each verdict is one forward of the deployed model."
        )
        return Flag("averaged-view", "info", text)
    text = (
        f"The gradient of the variant itself {_complaint(own)}: searched through a "
        "straight-through twin with the same outputs. Verdicts are on the deployed model."
    )
    return Flag("straight-through-view", "info", text)


def _complaint(own: Report) -> str:
    ids = _ids(own)
    if "no-gradient" in ids:
        return "is missing"
    if "nonfinite-gradient" in ids:
        return "is not finite"
    if "zero-gradient" in ids:
        return f"is zero for {own.numbers['gradient_zero_fraction']:.0%} of the images"
    return "leads nowhere"
