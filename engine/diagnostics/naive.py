"""The attack of somebody who does not adapt to a defence, beside the one that does.

It is the attack of the run on all images of the run, but searched as a library does that knows
of no defence: through the deployed model as it is, or past what stands in front of it, without
averaging over draws, and on the plain cross-entropy of its logits. What it leaves and the
adaptive attack breaks is false robustness (Athalye 2018, arXiv 1802.00420).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.diagnostics.black_box import Checked, Rival
from engine.diagnostics.checks import SIGNIFICANCE
from engine.flags import Flag
from engine.specs.choices import AttackSpec
from engine.statistics.intervals import mcnemar_greater
from engine.statistics.run_verdict import kinds_of
from engine.statistics.words import percent


class PlainLoss(nn.Module):
    """A model through which log-odds have the gradient of the plain cross-entropy in float32.

    The cross-entropy is softplus of the log-odds that attacks here climb, so its gradient is
    theirs times the probability of a mistake. Where float32 rounds that to 0, as on the logits
    of a network distilled at a high temperature, the gradient is gone.

    Args:
        inner: (N, C, H, W) images to (N, K) logits; shared, not copied.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, K) logits."""
        logits: Tensor = _Plain.apply(self.inner(images))
        return logits


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (logits,) = ctx.saved_tensors
        top = logits.argmax(dim=1, keepdim=True)
        # Of the label 1 - p, of the others the sum of their p: float32 rounds them apart.
        whole = logits.float().logsumexp(dim=1, keepdim=True)
        others = logits.float().scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
        own = 1 - (logits.float().gather(1, top) - whole).exp()
        factor = (others - whole).exp().expand_as(logits).scatter(1, top, own)
        scaled: Tensor = gradients[0] * factor.to(logits.dtype)
        return scaled


def naive_search(view: nn.Module, attack: AttackSpec) -> nn.Module:
    """What the naive attack searches: on the plain loss, if the attack climbs no other.

    Of a worst case those of its attacks count that follow a gradient.
    """
    climbing = [one for one in attack.members if "gradient" in one.traits]
    plain = all(kinds_of(one.model_dump()) <= {"cross-entropy"} for one in climbing)
    return PlainLoss(view) if plain else view


def naive_rival(attack: AttackSpec) -> Rival | None:
    """The naive form of an attack; None if it follows no gradient, or looks for distances."""
    if "gradient" not in attack.traits or not attack.norm or not attack.eps:
        return None
    return Rival(attack, wanted=True, everyone=True, naive=True)


def naive_numbers(checks: Sequence[Checked]) -> dict[str, Any]:
    """Of the naive attack, for the record of a run: images, and those that held; or the reason."""
    for check in checks:
        if check.naive and check.reason:
            return {"reason": check.reason}
        if check.naive:
            return {"n": check.images, "held": _held(check), "adaptive": check.tried}
    return {}


def naive_flags(checks: Sequence[Checked]) -> list[Flag]:
    """What the two attacks say of each other (McNemar exact, one-sided)."""
    made = [check for check in checks if check.naive and not check.reason]
    return [flag for check in made if (flag := _flag(check))]


def _held(check: Checked) -> int:
    return check.tried - len(check.broken) + len(check.missed)


def _flag(check: Checked) -> Flag | None:
    false, new = len(check.missed), len(check.broken)
    total, p = check.images, mcnemar_greater(max(false, new), min(false, new))
    if p >= SIGNIFICANCE or false == new:
        return None
    adaptive, naive = percent(check.tried / total), percent(_held(check) / total)
    if new > false:
        text = (
            f"An attack that does not adapt to the defence leaves {naive} of {total} images, the "
            f"one that does {adaptive} (McNemar exact, p = {p:.2g}): it is too weak here. Quote "
            "the lower number."
        )
        return Flag("naive-stronger", "danger", text)
    points = 100 * (false - new) / total
    text = (
        f"An attack that does not adapt to the defence leaves {naive} of {total} images, the one "
        f"that does {adaptive}: {points:.1f} points are false robustness (McNemar exact, "
        f"p = {p:.2g}). Quote the lower number: whoever knows of the defence attacks so."
    )
    return Flag("false-robustness", "info", text)
