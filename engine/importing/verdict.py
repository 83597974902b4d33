"""The verdict of the checkpoint doctor, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.diagnostics.checks import check_accuracy, check_probabilities, guess_in_words
from engine.importing.report import Health
from engine.importing.stated import Stated, agree, nearest
from engine.statistics.intervals import wilson


@dataclass(frozen=True)
class Doubt:
    """Another setting that is more accurate than the one chosen: clearly, or perhaps.

    Attributes:
        kind: ``normalisation``, ``unclear normalisation``, ``density``, ``unknown density``,
            ``candidate``, ``weak candidate`` or ``odd size``.
        label: the better setting; of an odd size, those that fit better.
        better: its accuracy on the trial images.
        chosen: that of the one chosen.
        kept: k as chosen, for a density.
    """

    kind: str
    label: str
    better: float
    chosen: float
    kept: float | None = None

    @property
    def field(self) -> str:
        """The option of the command line that would settle it."""
        if "candidate" in self.kind or self.kind == "odd size":
            return "candidate"
        return "density" if self.kind in ("density", "unknown density") else "mean"

    def sentence(self) -> str:
        """What is wrong, in words."""
        numbers = f"{self.better:.1%} against {self.chosen:.1%}"
        if self.kind == "normalisation":
            return f"the normalisation is wrong: {self.label} is clearly more accurate ({numbers})"
        if self.kind == "unclear normalisation":
            return (
                f"the normalisation is not known, and {self.label} is perhaps more accurate "
                f"({numbers}), which these images cannot tell: give --mean and --std"
            )
        if self.kind == "candidate":
            return (
                f"its shapes allow several networks, and candidate {self.label} is perhaps more "
                f"accurate ({numbers}), which these images cannot tell: choose by --candidate"
            )
        if self.kind == "odd size":
            return (
                f"its shapes fit images of {self.label} more naturally than these, so that this "
                "may not be the network that was trained: measure on images of such a size, or "
                "confirm it by --candidate"
            )
        if self.kind == "weak candidate":
            return (
                f"the best of the networks that its shapes allow is candidate {self.label}, which "
                "is so often wrong that it may be another one: confirm it by --candidate"
            )
        if self.kind == "unknown density":
            return f"k is not known, and k = {self.label} is no clear winner: give --density"
        if self.kept == 1:
            return (
                f"a subnet was loaded as dense: with its mask at k = {self.label} it is clearly "
                f"more accurate ({numbers})"
            )
        return f"k = {self.kept:g} is wrong: k = {self.label} is clearly more accurate ({numbers})"


@dataclass(frozen=True)
class Opinion:
    """Health and why, and the option that would settle a doubt (``density``; may be empty)."""

    health: Health
    sentence: str
    field: str = ""


def judge(
    logits: torch.Tensor, labels: torch.Tensor, doubts: tuple[Doubt, ...], stated: Stated = ()
) -> Opinion:
    """Is this network what it claims to be?

    Args:
        logits: (N, classes).
        labels: (N,) true classes.
        doubts: settings that fit better.
        stated: accuracies that stand in the file.
    """
    count, classes = logits.shape
    right = int((logits.argmax(dim=1) == labels).sum())
    share = f"{right / count:.1%} of {count} images are classified correctly"
    strongest = max(doubts, key=lambda one: one.better, default=None)
    other = _contradiction(right, count, stated)
    reason = f" Perhaps {strongest.sentence()}." if strongest else ""
    more = f" Beside that, {other}." if other else ""
    field = strongest.field if strongest else ""
    masked = (logits == -torch.inf).all(dim=0)  # classes that are never predicted
    if masked.all() or not bool(logits[:, ~masked].isfinite().all()):
        return Opinion("not healthy", "Not healthy: its outputs are not finite.")
    guess = guess_in_words(labels, classes)
    if check_accuracy(logits, labels):
        return Opinion("not healthy", f"Not healthy: {share}, near {guess}.{reason}{more}", field)
    if check_probabilities(logits):
        return Opinion(
            "doubtful",
            "Doubtful: its outputs are probabilities, not logits, on which losses flatten and "
            "attacks weaken; take the softmax off the network, as an import with its class does. "
            f"{share}.{reason}{more}",
            field,
        )
    if strongest:
        return Opinion("doubtful", f"Doubtful: {strongest.sentence()}; {share}.{more}", field)
    if other:
        return Opinion("doubtful", f"Doubtful: {other}.")
    if count > 1 and bool((labels == labels[0]).all()):
        return Opinion(
            "doubtful",
            f"Doubtful: all {count} images are of one class, which a network gets right, too, that "
            f"does not look at them: measure on images of several. {share}.",
            "dataset",
        )
    return Opinion("healthy", f"Healthy: {share}, well above {guess}.")


def _contradiction(right: int, count: int, stated: Stated) -> str:
    """What the file says of itself, if it lies outside the interval of what was measured."""
    low, high = (float(end) for end in wilson(right, count))
    if not stated or agree(stated, low, high):
        return ""
    one = nearest(stated, right / count)
    return (
        f"the file states {one.words()}, but {right / count:.1%} of {count} images are classified "
        f"correctly (95 % interval {low:.1%} to {high:.1%}): these are other images (another "
        "split, another encoding), the normalisation is another, or what is stated was measured "
        "otherwise (under attack, at another epoch)"
    )
