"""Checks of a variant's outputs on clean images, before anything attacks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev

import torch
from scipy.special import bdtrc
from torch import Tensor, nn

from engine.attacks.search.batching import in_chunks
from engine.attacks.search.outputs import check_logits, predict
from engine.errors import ModelError
from engine.evaluation.guard import arithmetic, preserved
from engine.evaluation.model_call import ask
from engine.flags import Flag
from engine.host.memory import memory_errors

SIGNIFICANCE = 0.05
NEAR = 0.1
FEW = 10
"""Up to so many images may all be of one class by accident."""


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in exact fp32, without a graph."""
    with torch.no_grad(), arithmetic(images.device, exact=True):
        parts = in_chunks(model, len(images), lambda part: ask(model, images[part]))
    return torch.cat(parts).float()


def require_logits(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Refuse a model whose outputs nothing can be made of; the rest of the gate only flags.

    Args:
        model: the deployed model.
        images: (N, C, H, W) clean images, N >= 1.
        labels: (N) int64.

    Raises:
        AttackError: the outputs are no (N, K >= 2) logits, or a label is beyond K.
        ModelError: another number of rows or classes than of images or for one image, or not
            one finite output.
    """

    def outputs(part: slice) -> Tensor:
        logits = ask(model, images[part])
        check_logits(logits, labels)
        return logits

    with preserved(model, seed=0), torch.no_grad(), arithmetic(images.device, exact=True):
        whole = in_chunks(model, len(images), outputs)
        single = _alone(outputs)
    shapes = {part.shape[1] for part in (*whole, single)}
    rows = sum(len(part) for part in whole)
    if rows != len(images) or len(single) != 1 or len(shapes) != 1:
        raise ModelError(
            f"The model gives outputs of shape {tuple(whole[0].shape)} for {len(images)} images "
            f"and {tuple(single.shape)} for one.",
            "Each image must give one row of logits, whatever batch it is in.",
        )
    if not (predict(torch.cat(whole)) >= 0).any():
        raise ModelError(
            f"The model gives no finite output for any of {len(images)} clean images.",
            "Its weights or its quantisation are ruined: there is nothing to attack.",
        )


def _alone(outputs: Callable[[slice], Tensor]) -> Tensor:
    """The logits of the first image in a batch of its own.

    Raises:
        ModelError: the model cannot be run on one image, as with BatchNorm over few numbers.
    """
    try:
        with memory_errors():
            return outputs(slice(0, 1))
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        raise ModelError(
            f"The model fails on one image alone: {reason}.",
            "Each image must have logits of its own: give BatchNorm running statistics, for "
            "example, and keep the first dimension where you squeeze.",
        ) from error


def tail(successes: int, trials: int, chance: float) -> float:
    """Probability of at least so many successes by chance (binomial)."""
    return 1.0 if successes == 0 else float(bdtrc(successes - 1, trials, chance))


def check_outputs(logits: Tensor) -> list[Flag]:
    """Are outputs (N, K) finite, and logits? Classes without one are never predicted."""
    masked = (logits == -torch.inf).all(dim=0)
    others = logits[:, ~masked]
    if not others.isfinite().all() or masked.all():
        share = float((~others.isfinite()).any(dim=1).float().mean()) if others.numel() else 1.0
        text = f"The output is not finite for {share:.0%} of the clean images: check its weights."
        return [Flag("nonfinite-output", "danger", text)]
    found = check_probabilities(logits)
    if masked.any():
        names = ", ".join(map(str, masked.nonzero().flatten().tolist()))
        text = f"These classes have the logit -inf on every image and are never predicted: {names}."
        found.append(Flag("masked-classes", "info", text))
    return found


def check_probabilities(outputs: Tensor) -> list[Flag]:
    """Are outputs (N, K) logits, or is each row a distribution already?"""
    sums = outputs.sum(dim=1)
    if not (outputs >= 0).all() or not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        return []
    text = (
        "The outputs are probabilities, not logits: losses flatten and attacks weaken. Take "
        "the softmax off the model."
    )
    return [Flag("probabilities", "warning", text)]


def guessing(labels: Tensor, classes: int) -> float:
    """Share that somebody gets right who does not look at the images.

    Evenly among the classes, or always the most frequent label, whichever is more. The labels
    of few images, or of one class alone, say nothing about frequencies.
    """
    most = _most_frequent(labels)
    return 1 / classes if most is None else max(1 / classes, most)


def _most_frequent(labels: Tensor) -> float | None:
    """Share of the most frequent label; None for few images, or if it is the only one."""
    most = int(labels.bincount().max()) if len(labels) > FEW else len(labels)
    return None if most == len(labels) else most / len(labels)


def check_accuracy(logits: Tensor, labels: Tensor) -> list[Flag]:
    """Is the clean accuracy clearly above guessing: a tenth of the way from there to perfect?

    A network that answers one class whatever it is shown does not look at the images either.
    """
    count, classes = logits.shape
    predictions = logits.argmax(dim=1)
    right = int((predictions == labels).sum())
    mixed = _most_frequent(labels) is not None
    constant = mixed and bool((predictions == predictions[0]).all())
    chance = guessing(labels, classes)
    if not constant and tail(right, count, chance + NEAR * (1 - chance)) < SIGNIFICANCE:
        return []
    only = f", and only class {int(predictions[0])} is ever predicted" if constant else ""
    text = (
        f"Clean accuracy is {right}/{count}, near {guess_in_words(labels, classes)}{only}: the "
        "variant is ruined, and its robust accuracy says nothing. Compress less, or fine-tune."
    )
    return [Flag("near-chance", "danger", text)]


def guess_in_words(labels: Tensor, classes: int) -> str:
    """What ``guessing`` is, to stand behind "near" or "above"."""
    share = guessing(labels, classes)
    text = f"guessing among {classes} classes"
    return text if share <= 1 / classes else f"{text} ({share:.1%} by the most frequent label)"


def check_view(deployed: Sequence[Tensor], view: Sequence[Tensor]) -> tuple[float, list[Flag]]:
    """Share of clean images on which view and deployed model predict the same.

    Args:
        deployed: (N, K) logits, once, or of a random model several times.
        view: those of the view, as often. It is not asked to agree with a random model more than
            that does with itself.
    """
    pairs = [_agreement(*pair) for pair in itertools.product(deployed, view)]
    others = [_agreement(*pair) for pair in itertools.combinations(deployed, 2)] or [1.0]
    same, itself = fmean(pairs), fmean(others)
    # A model that decides once for a batch agrees with itself now fully, now hardly.
    luck = 2 * pstdev(pairs) / len(deployed) ** 0.5
    if same >= itself - SIGNIFICANCE - luck:
        return same, []
    text = (
        f"The attack view predicts the same as the deployed model on only {same:.0%} of the "
        "clean images: what is found on one need not hold on the other. Believe Square and "
        "transferred examples instead."
    )
    return same, [Flag("view-disagrees", "danger", text)]


def _agreement(one: Tensor, other: Tensor) -> float:
    return float((one.argmax(dim=1) == other.argmax(dim=1)).float().mean())
