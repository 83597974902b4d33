"""Square attack: random search with square patches, without gradients (Andriushchenko 2020)."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import l2_project, linf_bounds
from engine.attacks.pgd_l2 import unit
from engine.attacks.search.passes import Pass
from engine.attacks.search.search import Search
from engine.catalog.attacks.gradient_free import SquareParams

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After so many changes the share of the changed pixels is halved, whatever the budget."""

_BLOCK = 250
"""Queries whose random numbers are drawn together."""


class Square(Attack[SquareParams]):
    """Random search on the margin (arXiv 1912.00049, algorithms 1 to 3), unrescaled schedule.

    Every query goes to the deployed model in fp32 and is a verdict at the same time, so this
    attack does not depend on the attack view. Each image has its own windows. They are squares on
    images of any shape, and reach the last row and column, which the authors' code leaves out.
    """

    def run(self, search: Search, pass_: Pass) -> None:
        """Attack the survivors."""
        rows, first = search.survivors(), search.step
        images = search.images[rows]
        kind = LinfWindows if self.params.norm == "Linf" else L2Windows
        windows: _Windows = kind(images, self.params.eps)
        points = tried = windows.start(search.draws.table(rows, "square start", windows.start_size))
        margins = torch.full((len(rows),), torch.inf, device=images.device)
        draws = images
        for query in range(self.params.n_queries):
            if query:
                if (query - 1) % _BLOCK == 0:
                    size = (_BLOCK, windows.draw_size)
                    draws = search.draws.table(rows, f"square {query}", size)
                numbers = draws[:, (query - 1) % _BLOCK]
                tried = windows.propose(points, self.share(query - 1), numbers)
            look = search.judge(rows, tried, first + query + 1)
            search.note(first + query + 1, look, 0.0)
            if search.telemetry.due:
                search.report()
            better = look.margin < margins
            points = torch.where(better.view(-1, 1, 1, 1), tried, points)
            margins = torch.where(better, look.margin, margins)
            # The one wait for the device.
            alive = (~search.verdicts.broken[rows]).nonzero().squeeze(1)
            if len(alive) < len(rows):
                rows, points, margins, draws = (x[alive] for x in (rows, points, margins, draws))
                windows.keep(alive)
            if not len(rows):
                return

    def share(self, change: int) -> float:
        """Share of the pixels that a window covers, for the change with this number from 0."""
        halved = sum(change > after for after in HALVINGS)
        return float(self.params.p_init / 2**halved)


class _Windows(Protocol):
    """How to start and what to change, for images (M, C, H, W); numbers are in [0, 1)."""

    start_size: tuple[int, ...]
    draw_size: int

    def start(self, numbers: Tensor) -> Tensor:
        """The first points, from (M, *start_size) numbers."""

    def propose(self, points: Tensor, share: float, numbers: Tensor) -> Tensor:
        """Points changed in windows of this share of the pixels, from (M, draw_size) numbers."""

    def keep(self, stay: Tensor) -> None:
        """Forget all images but those with these indices."""


class LinfWindows:
    """Vertical stripes, then squares, each channel at one end of the ball (algorithm 2)."""

    def __init__(self, images: Tensor, eps: float) -> None:
        channels, _, width = images.shape[1:]
        self.lower, self.upper = linf_bounds(images, eps)
        self.start_size: tuple[int, ...] = (channels, 1, width)
        self.draw_size = 2 + channels

    def start(self, numbers: Tensor) -> Tensor:
        return torch.where(numbers < 0.5, self.lower, self.upper)

    def propose(self, points: Tensor, share: float, numbers: Tensor) -> Tensor:
        height, width = points.shape[2:]
        side = max(min(round(math.sqrt(share * height * width)), height, width), 1)
        mask = _mask(_corners(numbers[:, :2], side, height, width), side, height, width)
        ends = self.start(numbers[:, 2:, None, None])
        return torch.where(mask, ends, points)

    def keep(self, stay: Tensor) -> None:
        self.lower, self.upper = self.lower[stay], self.upper[stay]


class L2Windows:
    """A grid of bumps, then one window gains the length that another gives up (algorithm 3)."""

    def __init__(self, images: Tensor, eps: float) -> None:
        self.images, self.eps = images, eps
        self._bumps: dict[int, Tensor] = {}
        channels, height, width = images.shape[1:]
        self.tile = max(min(height, width) // 5, 1)
        self.start_size: tuple[int, ...] = (channels + 1, height // self.tile, width // self.tile)
        self.draw_size = 5 + channels

    def start(self, numbers: Tensor) -> Tensor:
        bumps = numbers.repeat_interleave(self.tile, 2).repeat_interleave(self.tile, 3)
        bump = self._bump_of(self.tile)
        down, across = (
            one.repeat(numbers.shape[2], numbers.shape[3]).expand_as(bumps[:, :1])
            for one in (bump, bump.T)
        )
        delta = torch.where(bumps[:, :1] < 0.5, down, across) * _signs(bumps[:, 1:])
        field = torch.zeros_like(self.images)
        top = (field.shape[2] - delta.shape[2]) // 2
        left = (field.shape[3] - delta.shape[3]) // 2
        field[:, :, top : top + delta.shape[2], left : left + delta.shape[3]] = delta
        return self._stretched(field)

    def propose(self, points: Tensor, share: float, numbers: Tensor) -> Tensor:
        delta = points - self.images
        channels, height, width = delta.shape[1:]
        side = max(round(math.sqrt(share * height * width)), 3)
        side = min(side + 1 - side % 2, height, width)
        gaining = _corners(numbers[:, :2], side, height, width)
        giving = _corners(numbers[:, 2:4], side, height, width)
        source = _mask(giving, side, height, width)
        window = _places(gaining, side, channels)
        both = _length(delta * (source | _mask(gaining, side, height, width)))
        free = (self.eps**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp(min=0)
        bump = self._bump_of(side)
        bump = torch.where(numbers[:, 4, None, None, None] < 0.5, bump, bump.T)
        old = delta[window]
        new = _direction(bump * _signs(numbers[:, 5:, None, None]) + _direction(old))
        delta = delta.masked_fill(source, 0.0)
        delta[window] = new * (free / channels + both.square()).sqrt()
        return self._stretched(delta)

    def keep(self, stay: Tensor) -> None:
        self.images = self.images[stay]

    def _bump_of(self, side: int) -> Tensor:
        """``eta`` on the device, copied there once for each of the few sizes."""
        if side not in self._bumps:
            self._bumps[side] = eta(side, self.images.device)
        return self._bumps[side]

    def _stretched(self, delta: Tensor) -> Tensor:
        return l2_project(self.images, self.images + self.eps * unit(delta), self.eps)


def eta(side: int, device: torch.device | None = None) -> Tensor:
    """A bump above a dent, (side, side) with length 1, for the L2 windows."""
    upper = side // 2
    bump = torch.cat([_bump(upper, side), -_bump(side - upper, side)]).to(device)
    bump /= bump.norm()
    return bump


def _bump(height: int, width: int) -> Tensor:
    """Rings around the middle; ring k has 1/(k+1)^2 and all that lies further out, length 1."""
    if not height:
        return torch.zeros(0, width)
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    ring = torch.maximum(down[:, None], across)
    levels = 1 / (torch.arange(max(height, width) // 2 + 1) + 1.0) ** 2
    tails = levels.flip(0).cumsum(0).flip(0)
    bump: Tensor = tails[ring] / tails[ring].norm()
    return bump


def _corners(numbers: Tensor, side: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Top rows and left columns, (M) each, of windows that lie inside."""
    return (numbers[:, 0] * (height - side + 1)).long(), (numbers[:, 1] * (width - side + 1)).long()


def _mask(corners: tuple[Tensor, Tensor], side: int, height: int, width: int) -> Tensor:
    """(M, 1, H, W) bool, the pixels of each window."""
    down, across = (
        (line >= start[:, None]) & (line < start[:, None] + side)
        for start, line in zip(
            corners,
            (torch.arange(each, device=corners[0].device) for each in (height, width)),
            strict=True,
        )
    )
    return torch.logical_and(down[:, None, :, None], across[:, None, None, :])


def _places(corners: tuple[Tensor, Tensor], side: int, channels: int) -> tuple[Tensor, ...]:
    """Indices that read or write the (M, C, side, side) contents of each window."""
    top, left = (each.view(-1, 1, 1, 1) for each in corners)
    line = torch.arange(side, device=top.device)
    image = torch.arange(len(top), device=top.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=top.device).view(-1, 1, 1)
    return image, channel, top + line.view(-1, 1), left + line


def _signs(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0)


def _length(windows: Tensor) -> Tensor:
    """(M, C, 1, 1) Euclidean lengths, channel by channel."""
    return windows.square().sum((2, 3), keepdim=True).sqrt()


def _direction(windows: Tensor) -> Tensor:
    direction: Tensor = windows / (_length(windows) + 1e-12)
    return direction
