"""How often and in which arithmetic an attack is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """One go of an attack at the images that are left.

    Attributes:
        bf16: gradients are taken in bf16.
        finishing: the images are those that a pass in bf16 has left, and the attack may begin at
            the best points that it found.
    """

    bf16: bool = False
    finishing: bool = False


def passes(*, bf16: bool) -> tuple[Pass, ...]:
    """All passes of a search; one in bf16 is finished in fp32."""
    return (Pass(bf16=True), Pass(finishing=True)) if bf16 else (Pass(),)
