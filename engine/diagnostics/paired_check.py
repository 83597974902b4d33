"""Does a rival attack break more than the white-box attack did, on the same images?"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.diagnostics.checks import SIGNIFICANCE, tail


@dataclass(frozen=True)
class Duel:
    """A rival beside the white-box attack, on the same images.

    Attributes:
        total: images compared.
        whitebox: broken by the white-box attack, clean mistakes included.
        rival: broken by the rival.
        only_whitebox: broken by the white-box attack alone.
        only_rival: broken by the rival alone.
        p_value: McNemar exact, one-sided: chance of so many ``only_rival`` among the
            discordant images if both were equally strong.
    """

    total: int
    whitebox: int
    rival: int
    only_whitebox: int
    only_rival: int
    p_value: float

    @property
    def lost(self) -> bool:
        """Whether the rival is significantly stronger."""
        return self.p_value < SIGNIFICANCE

    @property
    def figures(self) -> str:
        """The numbers in words, for a flag."""
        return (
            f"{self.rival}/{self.total} images, the white-box attack only "
            f"{self.whitebox}/{self.total} (McNemar exact, p = {self.p_value:.2g})"
        )


def compare(broken_whitebox: Tensor, broken_rival: Tensor) -> Duel:
    """Count who broke what; both (N) bool over the same images."""
    only_rival = int((broken_rival & ~broken_whitebox).sum())
    only_whitebox = int((broken_whitebox & ~broken_rival).sum())
    return Duel(
        total=len(broken_whitebox),
        whitebox=int(broken_whitebox.sum()),
        rival=int(broken_rival.sum()),
        only_whitebox=only_whitebox,
        only_rival=only_rival,
        p_value=tail(only_rival, only_rival + only_whitebox, 0.5),
    )
