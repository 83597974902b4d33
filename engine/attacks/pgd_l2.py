"""PGD in the L2 ball (Madry 2018, arXiv 1706.06083, eq. 4, with normalised gradients)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.ball import l2_project
from engine.attacks.loop import ascend
from engine.attacks.search import Search


class PGDL2:
    """Projected ascent on the cross-entropy in steps of equal length; the best iterate counts.

    Args:
        eps: radius of the L2 ball, for pixels in [0, 1].
        steps: gradients per restart.
        step_size: length of a step; None means 10 eps / steps.
        random_start: start at a uniform point of the ball, pulled into the box.
        restarts: attempts, each on the images that survived the ones before.
    """

    def __init__(
        self,
        eps: float,
        steps: int = 40,
        step_size: float | None = None,
        random_start: bool = True,
        restarts: int = 1,
    ) -> None:
        self.eps, self.steps, self.step_size = eps, steps, step_size
        self.random_start, self.restarts = random_start, restarts

    def __repr__(self) -> str:
        return (
            f"PGDL2(eps={self.eps!r}, steps={self.steps!r}, step_size={self.step_size!r}, "
            f"random_start={self.random_start!r}, restarts={self.restarts!r})"
        )

    def run(self, search: Search) -> None:
        """Attack the survivors."""
        # Longer than in Linf: along the surface of the ball a step of 2.5 eps / steps turns so
        # little that the walk ends short of the best direction, even on affine models.
        step_size = 10 * self.eps / self.steps if self.step_size is None else self.step_size
        attempts = self.restarts if self.random_start else 1
        if attempts < self.restarts:
            search.notes.append("Restarts were ignored: without a random start all are equal.")
        for restart in range(attempts):
            rows = search.survivors()
            if not len(rows):
                return
            images = start = search.images[rows]
            if self.random_start:
                drawn = images + self.eps * uniform_in_l2_ball(search, rows, restart)
                start = l2_project(images, drawn, self.eps)
            box = torch.zeros_like(images), torch.ones_like(images)
            rule = L2Step(images, self.eps, step_size)
            ascend(search, rows, start, box, rule, self.steps)


class L2Step:
    """Move by the step size along the gradient, and back into the ball around the images."""

    def __init__(self, images: Tensor, eps: float, step_size: float) -> None:
        self.images, self.eps, self.step_size = images, eps, step_size

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        return l2_project(self.images, points + self.step_size * unit(gradient), self.eps)

    def keep(self, mask: Tensor) -> None:
        self.images = self.images[mask]


def unit(gradient: Tensor) -> Tensor:
    """The direction of each gradient, length 1; zero where the gradient is zero."""
    flat = gradient.flatten(1)
    tiny = torch.finfo(flat.dtype).tiny
    # First to a largest entry of 1, so that no square overflows or underflows.
    flat = flat / flat.abs().amax(dim=1, keepdim=True).clamp(min=tiny)
    direction: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp(min=tiny)
    return direction.view_as(gradient)


def uniform_in_l2_ball(search: Search, rows: Tensor, restart: int) -> Tensor:
    """(M, C, H, W) points spread evenly over the unit ball, each image its own."""
    count = search.images[0].numel()
    # A sphere with two more coordinates than the ball: leaving them out fills the ball evenly
    # (Archimedes' theorem on the cylinder, in any dimension).
    uniform = search.draws.table(rows, f"ball {restart}", (count + 2,)).double()
    normal = torch.special.ndtri(uniform.clamp(2.0**-25, 1 - 2.0**-25))
    sphere: Tensor = normal / normal.norm(dim=1, keepdim=True)
    return sphere[:, :count].float().view(len(rows), *search.images.shape[1:])
