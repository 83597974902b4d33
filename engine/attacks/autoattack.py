"""AutoAttack, standard version (Croce 2020, arXiv 2003.01690)."""

from __future__ import annotations

from engine.attacks.search.search import Search
from engine.specs.study import make_attack

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")


class AutoAttack:
    """Four attacks in a row at their reference settings, each on what survived the ones before.

    Args:
        eps: radius of the ball, for pixels in [0, 1].
        norm: of the ball, "Linf" or "L2".
    """

    def __init__(self, eps: float, norm: str = "Linf") -> None:
        self.eps, self.norm = eps, norm

    def __repr__(self) -> str:
        return f"AutoAttack(eps={self.eps!r}, norm={self.norm!r})"

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        # The registry knows this class, so this module cannot import it when it is loaded.
        from engine.attacks.registry import create

        counts = []
        for part in PARTS:
            before = len(search.survivors())
            if before:
                search.part = part
                create(make_attack({"name": part, "eps": self.eps, "norm": self.norm})).run(search)
            counts.append(f"{part} {before - len(search.survivors())}")
        search.part = ""
        search.notes.append(f"Broken by each part{' in bf16' * search.bf16}: {', '.join(counts)}.")
