"""Do examples made on the parent break more than the white-box attack did?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks.search.outputs import predict
from engine.diagnostics.checks import forward
from engine.diagnostics.paired_check import Duel, compare
from engine.evaluation.guard import preserved
from engine.flags import Flag
from engine.host.batches import in_batches


def transfer_check(
    model: nn.Module, adversarial: Tensor, labels: Tensor, broken_whitebox: Tensor
) -> Duel:
    """Judge the parent's adversarial examples on a variant.

    Args:
        model: the deployed model of the variant.
        adversarial: (N, C, H, W) float32 examples against the parent, same threat model; on any
            device, the others on that of the model.
        labels: (N) int64.
        broken_whitebox: (N) bool, of the white-box attack on the variant, same images.
    """
    if not len(labels):
        return compare(broken_whitebox, torch.zeros_like(broken_whitebox))

    def judge(start: int, stop: int) -> Tensor:
        truth = labels[start:stop]
        predicted = predict(forward(model, adversarial[start:stop].to(truth.device)))
        return (predicted != truth) & (predicted >= 0)

    with preserved(model, seed=0):
        fooled = torch.cat(in_batches(judge, 0, len(labels), len(labels)))
    return compare(broken_whitebox, fooled)


def transfer_flag(duel: Duel) -> Flag | None:
    """Danger if the transferred examples are significantly stronger."""
    if not duel.lost:
        return None
    text = (
        f"Likely gradient masking: examples made on the parent break {duel.figures}. Quote the "
        "lower number, or that of square."
    )
    return Flag("gradient-masking", "danger", text)
