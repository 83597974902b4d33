"""Do examples made on the parent break more than the white-box attack did?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from engine.attacks.guard import preserved
from engine.diagnostics.checks import SIGNIFICANCE, forward, tail
from engine.diagnostics.flags import Flag


@dataclass(frozen=True)
class TransferCheck:
    """Transferred examples beside the white-box attack, on the same images.

    Attributes:
        total: images compared.
        whitebox: broken by the white-box attack, clean mistakes included.
        transferred: broken by the parent's examples.
        only_whitebox: broken by the white-box attack alone.
        only_transferred: broken by the parent's examples alone.
        p_value: McNemar exact, one-sided: chance of so many ``only_transferred`` among the
            discordant images if both attacks were equally strong.
    """

    total: int
    whitebox: int
    transferred: int
    only_whitebox: int
    only_transferred: int
    p_value: float

    @property
    def flag(self) -> Flag | None:
        """Danger if the transferred examples are significantly stronger."""
        if self.p_value >= SIGNIFICANCE:
            return None
        text = (
            "Likely gradient masking: examples made on the parent break "
            f"{self.transferred}/{self.total} images, the white-box attack only "
            f"{self.whitebox}/{self.total} (McNemar exact, p = {self.p_value:.2g})."
        )
        return Flag("gradient-masking", "danger", text)


def transfer_check(
    model: nn.Module, adversarial: Tensor, labels: Tensor, broken_whitebox: Tensor
) -> TransferCheck:
    """Judge the parent's adversarial examples on a variant.

    Args:
        model: the deployed model of the variant.
        adversarial: (N, C, H, W) float32 examples against the parent, same threat model.
        labels: (N) int64.
        broken_whitebox: (N) bool, of the white-box attack on the variant, same images.
    """
    if not len(labels):
        return TransferCheck(0, 0, 0, 0, 0, 1.0)
    with preserved(model, seed=0):
        logits = forward(model, adversarial)
    fooled = (logits.argmax(dim=1) != labels) & logits.isfinite().all(dim=1)
    only_transferred = int((fooled & ~broken_whitebox).sum())
    only_whitebox = int((broken_whitebox & ~fooled).sum())
    return TransferCheck(
        total=len(labels),
        whitebox=int(broken_whitebox.sum()),
        transferred=int(fooled.sum()),
        only_whitebox=only_whitebox,
        only_transferred=only_transferred,
        p_value=tail(only_transferred, only_transferred + only_whitebox, 0.5),
    )
