"""Random changes of training images keep their class: digits are not mirrored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine import data, training
from engine.catalog.training import StandardParams
from engine.data import ImageSet
from engine.specs.dataset import DatasetSpec
from engine.training.augmentation import augmented
from tests.helpers.published import write_cifar, write_svhn

_LEFT = set(range(9))  # column 4, moved by up to four
_RIGHT = set(range(23, 32))


def _lit(count: int = 200) -> torch.Tensor:
    """Black colour pictures with one lit column, four from the left."""
    images = torch.zeros(count, 3, 32, 32)
    images[..., 4] = 1
    return images


def _set(dataset: str, images: torch.Tensor) -> ImageSet:
    count = len(images)
    labels = torch.arange(count) % 10
    names = tuple(map(str, range(10)))
    return ImageSet(images, labels, torch.arange(count), names, dataset, dataset)


def _columns(images: torch.Tensor) -> set[int]:
    return set(images.amax(dim=(0, 1, 2)).nonzero().flatten().tolist())


def _seen(dataset: str, kind: str) -> set[int]:
    """The columns in which a network in training saw light."""
    seen: list[torch.Tensor] = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    net.register_forward_pre_hook(lambda m, x: seen.append(x[0]) if m.training else None)
    params = StandardParams(epochs=1, batch_size=32, augmentation=kind)
    training.train(net, *training.hold_out(_set(dataset, _lit())), params, 0)
    return _columns(torch.cat(seen))


def test_digits_in_colour_are_cropped_and_not_mirrored() -> None:
    assert _seen("svhn", "auto") == _LEFT


@pytest.mark.parametrize("dataset", ["cifar10", "folder", "npz"])
def test_other_pictures_in_colour_are_mirrored_too(dataset: str) -> None:
    assert _seen(dataset, "auto") == _LEFT | _RIGHT


def test_who_asks_for_crops_with_or_without_mirroring_gets_them() -> None:
    assert _seen("npz", "crop") == _LEFT
    assert _seen("svhn", "crop-flip") == _LEFT | _RIGHT


def test_crops_are_those_of_crop_flip() -> None:
    images = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    crop, both = (
        augmented(images, kind, torch.Generator().manual_seed(0)) for kind in ("crop", "crop-flip")
    )
    mirrored = (crop != both).flatten(1).any(dim=1)
    assert 10 < int(mirrored.sum()) < 40
    assert torch.equal(both[mirrored].flip(-1), crop[mirrored])


@pytest.mark.parametrize("mirrors", [True, False])
def test_small_and_grey_pictures_are_shifted_as_ever(mirrors: bool) -> None:
    for shape in ((1, 28, 28), (3, 16, 16)):
        images = torch.rand(9, *shape, generator=torch.Generator().manual_seed(1))
        auto, shift = (
            augmented(images, kind, torch.Generator().manual_seed(0), mirrors=mirrors)
            for kind in ("auto", "shift")
        )
        assert torch.equal(auto, shift)


def test_the_files_of_svhn_give_one_way_images_and_a_lesson_of_their_own(tmp_path: Path) -> None:
    write_svhn(tmp_path)
    write_cifar(tmp_path, "cifar10")
    svhn, cifar = (
        data.training_images(DatasetSpec(name=name, root=str(tmp_path)))
        for name in ("svhn", "cifar10")
    )
    assert (svhn.mirrors, cifar.mirrors) == (False, True)
    assert cifar.lesson == cifar.fingerprint
    # The same pixels from an archive are mirrored: another training, so another key.
    archive = ImageSet(svhn.images, svhn.labels, svhn.indices, svhn.class_names, "npz", "a")
    assert archive.fingerprint == svhn.fingerprint
    assert archive.lesson != svhn.lesson
