"""Which view an attack searches: the model's own, or a twin where its own gradients fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.attacks.search.straight_through import StraightThrough
from engine.diagnostics.averaged import FORWARDS, Averaged
from engine.diagnostics.black_box import SMOOTHED
from engine.diagnostics.checks import forward
from engine.diagnostics.examine import GateReport, ask_again, examine
from engine.diagnostics.gradients import GradientHealth, gradient_health
from engine.diagnostics.one_by_one import OneByOne
from engine.diagnostics.repeats import Behaviour
from engine.errors import AttackError
from engine.evaluation.guard import preserved
from engine.flags import Flag
from engine.host.memory import memory_errors

ALONE = "one-by-one"
TWINS: dict[str, Callable[[nn.Module], nn.Module]] = {
    ALONE: OneByOne,
    "straight-through": StraightThrough,
    "averaged": Averaged,
}
_FATAL = {"no-gradient", "zero-gradient", "nonfinite-gradient"}
_DOUBTFUL = {"secants-disagree"}
_CANNOT = (RuntimeError, TypeError, ValueError, AttackError)
"""What a model raises that cannot be run inside of a twin."""


@dataclass(frozen=True)
class ViewChoice:
    """What the gate decided for a variant.

    Attributes:
        twins: keys of ``TWINS`` to wrap the attack view in, innermost first; mostly none. With
            ``ALONE``, the deployed model is wrapped in that too (``judged``).
        report: of the view so wrapped, and whether it was.
        random: two forwards of the deployed model differ.
    """

    twins: tuple[str, ...]
    report: GateReport
    random: bool = False


def wrapped(view: nn.Module, twins: Sequence[str]) -> nn.Module:
    """An attack view inside the twins that were chosen for it."""
    for twin in twins:
        view = TWINS[twin](view)
    return view


def naive_view(view: nn.Module, naive: nn.Module | None, twins: Sequence[str]) -> nn.Module | None:
    """What somebody searches who does not adapt to a variant; None if there is nothing to adapt to.

    Args:
        view: the attack view, in no twin.
        naive: its form without what adapts to the defences of its recipe, if it has some.
        twins: that were chosen for it.
    """
    if naive is None and not SMOOTHED & set(twins):
        return None
    return judged(view if naive is None else naive, twins)


def judged(deployed: nn.Module, twins: Sequence[str]) -> nn.Module:
    """The deployed model as verdicts are given on it."""
    return OneByOne(deployed) if ALONE in twins else deployed


def choose_view(
    deployed: nn.Module,
    view: nn.Module,
    images: Tensor,
    labels: Tensor,
    parent_view: nn.Module | None = None,
    tell: Callable[[str, float], None] = lambda what, share: None,
) -> ViewChoice:
    """Examine a variant; where its gradients fail or it is random, try twins of its view.

    A straight-through twin is taken if it has gradients where the view has none, gradients that
    predict what happens where those of the view do not, or gradients that lead an attack
    without bounds to more mistakes where neither predicts what happens. A random model is averaged
    unless that makes its gradients worse. If no twin helps, the flags stay as they are. Where
    logits depend on who else is in the batch, every image gets a batch of its own, in the view
    and in the deployed model.

    Args:
        deployed: the deployed model.
        view: its attack view.
        images: (N, C, H, W) clean images, float32 in [0, 1], on the models' device.
        labels: (N) int64.
        parent_view: the attack view of the base model, to compare gradients with.
        tell: is told what is examined, and the share of that which is behind.
    """
    if not len(labels):
        return ViewChoice((), GateReport((), {}))
    tell("outputs", 0.0)
    known = ask_again(deployed, images)
    alone = (ALONE,) if known.depends_on_batch else ()
    judge = judged(deployed, alone)
    if alone:
        known = _alone(known, judge, images)

    def report_on(twins: tuple[str, ...]) -> GateReport:
        parent = None if parent_view is None else wrapped(parent_view, twins)
        made = [twin for twin in twins if twin != ALONE]
        what = f"{' and '.join(made)} twin" if made else "gradients"
        tell(what, 0.0)
        return examine(
            judge,
            wrapped(view, twins),
            images,
            labels,
            parent,
            known,
            lambda share: tell(what, share),
        )

    own = report_on(alone)
    averaged = ("averaged",) if known.random else ()
    candidates = [(*alone, "straight-through", *averaged)] if _trouble(own) else []
    candidates += [(*alone, *averaged)] if known.random else []
    for twins in candidates:
        try:
            with memory_errors():
                report = report_on(twins)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except _CANNOT:
            continue
        if "view-disagrees" in _ids(report):
            continue
        gain = _trouble(own) - _trouble(report)
        as_good = twins == (*alone, *averaged) or _leads_further(report, own)
        if gain > 0 or (gain == 0 and as_good):
            notes = tuple(_note(twin, own) for twin in twins if twin != ALONE)
            return ViewChoice(
                twins, GateReport((*report.flags, *notes), report.numbers), known.random
            )
    return ViewChoice(alone, own, known.random)


def followed_health(view: nn.Module, images: Tensor, labels: Tensor) -> GradientHealth:
    """The state of the gradients that an attack would follow: the view's own, or its twin's."""
    own = gradient_health(view, images, labels)
    if not _fatal(own):
        return own
    try:
        with memory_errors():
            twin = gradient_health(StraightThrough(view), images, labels)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except _CANNOT:
        return own
    return own if _fatal(twin) else twin


def _fatal(health: GradientHealth) -> bool:
    return bool({flag.id for flag in health.flags()} & _FATAL)


def _alone(known: Behaviour, deployed: nn.Module, images: Tensor) -> Behaviour:
    """The same, with the logits of images that are alone."""
    with preserved(deployed, seed=0):
        logits = forward(deployed, images)
    return replace(known, logits=logits)


def _ids(report: GateReport) -> set[str]:
    return {flag.id for flag in report.flags}


def _trouble(report: GateReport) -> int:
    """2 without a gradient to follow, 1 with one that leads nowhere, 0 with a healthy one."""
    return 2 if _ids(report) & _FATAL else 1 if _ids(report) & _DOUBTFUL else 0


def _leads_further(report: GateReport, own: GateReport) -> bool:
    """Whether an attack without bounds, which must break all, breaks more by a doubtful gradient.

    Where rounding makes steps wider than those over which gradients are compared with what
    happens, neither view predicts that, and yet one leads to mistakes and the other nowhere.
    """
    left = [one.numbers.get("unconstrained_accuracy") for one in (report, own)]
    return None not in left and _trouble(own) == 1 and float(left[0] or 0) < float(left[1] or 0)


def _note(twin: str, own: GateReport) -> Flag:
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


def _complaint(own: GateReport) -> str:
    ids = _ids(own)
    if "no-gradient" in ids:
        return "is missing"
    if "nonfinite-gradient" in ids:
        return "is not finite"
    if "zero-gradient" in ids:
        return f"is zero for {own.numbers['gradient_zero_fraction']:.0%} of the images"
    return "leads nowhere"
