"""Attacks of a single direction, and random search, where the best point is in their reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.attacks.square import eta
from tests.helpers.attack_models import Affine
from tests.helpers.closed_form import SHAPES, SHARP, Case, affine, check, distances

SINGLE: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "fb-pgd from the image": {"random_start": False},
    "fb-pgd": {"steps": 61},
}
"""Foolbox's 40 steps of eps / 30 cross a radius; from a random start the ball, which takes 61."""


def _own_pixels(classes: int, shape: tuple[int, int, int], *, box: bool) -> Case:
    """Each class looks at pixels that no other class looks at.

    Every loss of all classes then falls, in each pixel of the label, along the sign of its
    weight, and rises, in each pixel of a rival, along the sign of that rival's. So one sign step
    of length eps, cut by the box pixel by pixel, is at the same time the largest possible gain
    w_i . delta - w_y . delta of every rival i, whatever their norms and however soft the logits.
    """
    model, images, *_ = affine(classes, shape, "Linf", box=box)
    size = images[0].numel()
    owner = torch.arange(size) % classes
    with torch.no_grad():
        model.linear.weight *= owner == torch.arange(classes)[:, None]
        model.linear.weight *= torch.linspace(1.0, 1.5, classes)[:, None]
        model.linear.bias.copy_(-model.linear.weight.sum(dim=1) / 2)
    labels = model(images).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % classes
    return model, images, labels, distances(model, images, labels, "Linf")


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_one_direction_is_enough_where_each_class_has_its_own_pixels(
    classes: int, shape: tuple[int, int, int], name: str
) -> None:
    attack = {"name": name.split()[0], **SINGLE[name]}
    for box, share, scale in ((False, 0.3, 1.0), (True, 0.5, 1.0), (False, 0.7, 3.0)):
        check(attack, _own_pixels(classes, shape, box=box), share, scale=scale, misses=1)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("classes", [3, 10])
def test_one_direction_breaks_no_more_than_the_closed_form(classes: int, name: str) -> None:
    """Nothing out of reach is broken; but the direction may be that of a class too far away, which
    costs up to 60 images of 200 here."""
    attack = {"name": name.split()[0], **SINGLE[name]}
    for shape in SHAPES:
        for box, share, scale in ((False, 0.3, 1.0), (True, 0.5, SHARP), (True, 0.7, 1.0)):
            check(attack, affine(classes, shape, "Linf", box=box), share, scale=scale, misses=60)


HALF = 0.04
"""Half the width of a class, in L2."""


def _in_a_row(classes: int, shape: tuple[int, int, int]) -> Case:
    """Classes side by side along one bump of the Square attack, at one place of the image.

    With z_i = i b.x + c_i the nearest class is always a neighbour and the best point is eps b,
    the same in every channel. A window there turns its content u into (u + b) / |u + b|, which
    halves the angle, and takes in the length of a window elsewhere: both raise the gain, so the
    search goes on until all of eps is in b. Where eps is less than ``HALF`` it starts on the
    side of the nearest class and stays there.
    """
    channels, height, width = shape
    generator = torch.Generator().manual_seed(classes)
    bump = torch.zeros(shape)
    signs = torch.where(torch.rand(channels, 1, 1, generator=generator) < 0.5, -1.0, 1.0)
    bump[:, height - 3 :, width - 3 :] = eta(3) * signs / channels**0.5
    model, way = Affine(classes, shape), bump.flatten()
    edges = (torch.arange(classes - 1) - (classes - 2) / 2) * 2 * HALF
    with torch.no_grad():
        model.linear.weight.copy_(torch.arange(classes)[:, None] * way)
        model.linear.bias.copy_(torch.cat([torch.zeros(1), -edges.cumsum(dim=0)]))
    images = torch.rand(200, *shape, generator=generator) * 0.1 + 0.45
    places = (torch.rand(200, generator=generator) - 0.5) * 2 * HALF * classes
    shift = places - images.flatten(1) @ way
    images = images + shift.view(-1, 1, 1, 1) * bump
    assert images.min() > 0.05
    assert images.max() < 0.95
    labels = model(images).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % classes
    return model, images, labels, distances(model, images, labels, "L2")


@pytest.mark.parametrize(("shape", "share"), [((1, 4, 6), 0.45), ((2, 4, 4), 0.3)])
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_random_search_in_l2_finds_all_where_its_windows_can(
    classes: int, shape: tuple[int, int, int], share: float
) -> None:
    case = _in_a_row(classes, shape)
    square = {"name": "square", "norm": "L2", "n_queries": 1500}
    check(square, case, share, scale=1.0, misses=1)
