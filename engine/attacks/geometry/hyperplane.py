"""Shortest way to a hyperplane that stays inside the box [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor


def to_hyperplane(points: Tensor, normal: Tensor, rise: Tensor, norm: str) -> Tensor:
    """Smallest delta with ``normal . delta = rise`` and ``points + delta`` inside the box.

    Every entry moves in its useful direction by min(l q, room): q = 1 for Linf and |normal| for
    L2, room the way to the box, and l the smallest number that gives the rise. The rise is
    linear in l between the values where entries reach the box, so one sort finds it. If the
    whole box does not give the rise, all entries go to the box.

    Args:
        points: (M, D) in [0, 1].
        normal: (M, D); entries at 0 do not move.
        rise: (M), any sign.
        norm: "Linf" or "L2".

    Returns:
        (M, D) float64.
    """
    points, normal, rise = points.double(), normal.double(), rise.double()
    slope = normal.abs()
    useful = slope > 0
    upwards = (normal > 0) == (rise > 0).unsqueeze(1)
    room = torch.where(upwards, 1 - points, points) * useful
    speed = useful.double() if norm == "Linf" else slope
    full = torch.where(useful, room / speed, 0.0)  # the l at which an entry reaches the box
    order = full.argsort(dim=1)
    turns = full.gather(1, order)
    spent = (slope * room).gather(1, order).cumsum(1)
    left = (slope * speed).gather(1, order).flip(1).cumsum(1).flip(1)
    before = torch.nn.functional.pad(spent[:, :-1], (1, 0))
    wanted = rise.abs().unsqueeze(1)
    index = ((before + turns * left) < wanted).sum(dim=1, keepdim=True)
    index = index.clamp(max=points.shape[1] - 1)
    missing = wanted - before.gather(1, index)
    rest = left.gather(1, index)
    scale = torch.where(rest > 0, missing / rest, 0.0)
    length = torch.minimum(scale * speed, room)
    return torch.where(upwards, length, -length)
