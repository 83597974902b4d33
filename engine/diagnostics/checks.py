"""Checks of a variant's outputs on clean images, before anything attacks it."""

from __future__ import annotations

import torch
from scipy.special import bdtrc
from torch import Tensor, nn

from engine.attacks.guard import arithmetic
from engine.diagnostics.flags import Flag

SIGNIFICANCE = 0.05
NEAR = 0.1


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in exact fp32, without a graph."""
    with torch.no_grad(), arithmetic(images.device, exact=True):
        logits: Tensor = model(images)
    return logits.float()


def tail(successes: int, trials: int, chance: float) -> float:
    """Probability of at least so many successes by chance (binomial)."""
    return 1.0 if successes == 0 else float(bdtrc(successes - 1, trials, chance))


def check_outputs(first: Tensor, second: Tensor) -> list[Flag]:
    """Two forwards of the same images: finite, equal, logits?"""
    if not first.isfinite().all():
        share = float((~first.isfinite()).any(dim=1).float().mean())
        text = f"The output is not finite for {share:.0%} of the clean images."
        return [Flag("nonfinite-output", "danger", text)]
    found = []
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        text = (
            "Two forwards of the same images differ: the variant is random, and attacks that do "
            "not average over it are too weak."
        )
        found.append(Flag("random-output", "warning", text))
    sums = first.sum(dim=1)
    if (first >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        text = "The outputs are probabilities, not logits: losses flatten and attacks weaken."
        found.append(Flag("probabilities", "warning", text))
    return found


def check_accuracy(logits: Tensor, labels: Tensor) -> list[Flag]:
    """Is the clean accuracy clearly above guessing: a tenth of the way from chance to perfect?"""
    count, classes = logits.shape
    right = int((logits.argmax(dim=1) == labels).sum())
    chance = 1 / classes
    if tail(right, count, chance + NEAR * (1 - chance)) < SIGNIFICANCE:
        return []
    text = (
        f"Clean accuracy is {right}/{count} with {classes} classes, near guessing: the variant "
        "is ruined, and its robust accuracy says nothing."
    )
    return [Flag("near-chance", "danger", text)]


def check_view(deployed: Tensor, view: Tensor) -> tuple[float, list[Flag]]:
    """Share of clean images on which view and deployed model predict the same."""
    same = float((deployed.argmax(dim=1) == view.argmax(dim=1)).float().mean())
    if same >= 1 - SIGNIFICANCE:
        return same, []
    text = (
        f"The attack view predicts the same as the deployed model on only {same:.0%} of the "
        "clean images: what is found on one need not hold on the other."
    )
    return same, [Flag("view-disagrees", "danger", text)]
