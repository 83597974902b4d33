"""PGD in the L2 ball (Madry 2018, arXiv 1706.06083, eq. 4, with normalised gradients)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.geometry.ball import l2_project
from engine.attacks.pgd import PGD
from engine.attacks.search.loop import Rule
from engine.attacks.search.search import Search


class PGDL2(PGD):
    """Projected ascent on the cross-entropy in steps of equal length; the best iterate counts."""

    # Longer than in Linf: along the surface of the ball a step of 2.5 eps / steps turns so
    # little that the walk ends short of the best direction, even on affine models.
    STRIDE = 10.0

    def _drawn(self, search: Search, rows: Tensor, restart: int) -> Tensor:
        images = search.images[rows]
        drawn = images + self.params.eps * uniform_in_l2_ball(search, rows, restart)
        return l2_project(images, drawn, self.params.eps)

    def _rule(self, images: Tensor, step_size: float) -> Rule:
        return L2Step(images, self.params.eps, step_size)


class L2Step:
    """Move by the step size along the gradient, and back into the ball around the images."""

    def __init__(self, images: Tensor, eps: float, step_size: float) -> None:
        self.images, self.eps, self.step_size = images, eps, step_size

    def update(self, points: Tensor, gradient: Tensor, loss: Tensor) -> Tensor:
        return l2_project(self.images, points + self.step_size * unit(gradient), self.eps)

    def idle(self) -> Tensor | None:
        return None

    def keep(self, stay: Tensor) -> None:
        self.images = self.images[stay]


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
