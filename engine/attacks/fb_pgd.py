"""PGD in the Linf ball as Foolbox 3.3.4 runs it (Rauber 2020, JOSS 5(53), 2607)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import linf_bounds
from engine.attacks.search.notes import LOST, Note
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.l2 import FoolboxPgdParams


class FoolboxPGD(Attack[FoolboxPgdParams]):
    """Projected sign-gradient ascent on the cross-entropy; only where the walk ends counts.

    Nothing is judged on the way, and no image leaves the batch early. Where the cross-entropy
    saturates in float32 the walk goes on along the same direction (see ``losses.log_odds``).
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        eps, steps = self.params.eps, self.params.steps
        images, step_size = search.images[rows], self.params.rel_stepsize * eps
        bounds = linf_bounds(images, eps)
        points = images
        if self.params.random_start:
            points = torch.clamp(images + eps * search.noise(rows), *bounds)
        wrong_since, ever = torch.full_like(rows, -1), torch.zeros_like(rows, dtype=torch.bool)
        for step in range(steps):
            look, gradient = search.peek(rows, points, bf16=pass_.bf16)
            ever |= look.wrong
            if step:
                wrong_since = _since(wrong_since, look.wrong, first + step)
                search.note(first + step, look, step_size, believed=look.wrong.sum())
            # At the last step, too: from the verdict on, what is believed would count twice.
            if search.due(step) or step == steps - 1:
                search.report()
            points = torch.clamp(points + step_size * gradient.sign(), *bounds)
        last = first + steps
        look = search.judge(rows, points, last)
        # The curve shows since when the images that ended misclassified had been so.
        search.date(rows, _since(wrong_since, look.wrong, last))
        search.emit(last, look, step_size)
        lost = int((ever & ~search.verdicts.broken[rows]).sum())
        if lost:
            search.notes.append(Note(LOST, lost))


def _since(before: Tensor, wrong: Tensor, step: int) -> Tensor:
    """Since which step the points have been misclassified, -1 where they are not."""
    return torch.where(wrong, torch.where(before < 0, step, before), -1)
