"""PGD in the Linf ball as Foolbox 3.3.4 runs it (Rauber 2020, JOSS 5(53), 2607)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.search.lost_examples import lost_note
from engine.attacks.search.search import Search


class FoolboxPGD:
    """Projected sign-gradient ascent on the cross-entropy; only where the walk ends counts.

    Nothing is judged on the way, and no image leaves the batch early. Where the cross-entropy
    saturates in float32 the walk goes on along the same direction (see ``losses.log_odds``).

    Args:
        eps: radius of the Linf ball, in [0, 1].
        rel_stepsize: length of a step as a share of eps.
        steps: gradients.
        random_start: start at a uniform point of the ball, clipped to the box.
    """

    def __init__(
        self,
        eps: float,
        rel_stepsize: float = 0.01 / 0.3,
        steps: int = 40,
        random_start: bool = True,
    ) -> None:
        self.eps, self.rel_stepsize = eps, rel_stepsize
        self.steps, self.random_start = steps, random_start

    def __repr__(self) -> str:
        return (
            f"FoolboxPGD(eps={self.eps!r}, rel_stepsize={self.rel_stepsize!r}, "
            f"steps={self.steps!r}, random_start={self.random_start!r})"
        )

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        images, step_size = search.images[rows], self.rel_stepsize * self.eps
        bounds = linf_bounds(images, self.eps)
        points = images
        if self.random_start:
            points = torch.clamp(images + self.eps * search.noise(rows), *bounds)
        wrong_since, ever = torch.full_like(rows, -1), torch.zeros_like(rows, dtype=torch.bool)
        for step in range(self.steps):
            look, gradient = search.peek(rows, points)
            ever |= look.wrong
            if step:
                wrong_since = _since(wrong_since, look.wrong, first + step)
                search.note(first + step, look, step_size, believed=look.wrong.sum())
            # At the last step, too: from the verdict on, what is believed would count twice.
            if search.due(step) or step == self.steps - 1:
                search.report()
            points = torch.clamp(points + step_size * gradient.sign(), *bounds)
        last = first + self.steps
        look = search.judge(rows, points, last)
        won = search.broken[rows]
        # The curve shows since when the images that ended misclassified had been so.
        search.broken_at_step[rows[won]] = _since(wrong_since, look.wrong, last)[won]
        search.emit(last, look, step_size)
        lost = int((ever & ~won).sum())
        if lost:
            search.notes.append(lost_note(lost))


def _since(before: Tensor, wrong: Tensor, step: int) -> Tensor:
    """Since which step the points have been misclassified, -1 where they are not."""
    return torch.where(wrong, torch.where(before < 0, step, before), -1)
