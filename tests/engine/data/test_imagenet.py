"""ImageNet folders: class numbers, the transform of the published weights, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.models import ResNet50_Weights

from engine import data
from engine.data.imagenet import MAPPING
from engine.errors import DataError
from engine.specs.dataset import DatasetSpec
from tests.helpers.published import SYNSETS, write_imagenet, write_mapping

IMAGES = {3: 2, 500: 1, 999: 2}


def spec(root: Path, **keys: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "imagenet", "root": str(root), **keys})


@pytest.mark.parametrize("whole", [True, False])
def test_labels_are_places_in_the_list_of_all_synsets(whole: bool, tmp_path: Path) -> None:
    write_imagenet(tmp_path, IMAGES, whole=whole)
    found = data.load(spec(tmp_path), seed=1)
    assert sorted(found.labels.tolist()) == [3, 3, 500, 999, 999]
    assert found.shape == (3, 224, 224)
    assert len(found.class_names) == 1000
    want = ResNet50_Weights.DEFAULT.meta["categories"][3] if whole else "thing 3"
    assert found.class_names[3] == want


def test_the_root_may_be_the_validation_folder_itself(tmp_path: Path) -> None:
    write_imagenet(tmp_path, IMAGES, whole=False)
    one, two = (data.load(spec(root), seed=0) for root in (tmp_path, tmp_path / "val"))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize(
    ("weights", "keys"),
    [(ResNet50_Weights.IMAGENET1K_V1, {}), (ResNet50_Weights.IMAGENET1K_V2, {"resize": 232})],
)
def test_pixels_are_those_of_the_weights_before_they_are_normalised(
    weights: ResNet50_Weights, keys: dict[str, int], tmp_path: Path
) -> None:
    files = write_imagenet(tmp_path, IMAGES, whole=False)
    found = data.load(spec(tmp_path, **keys), seed=0)
    transform = weights.transforms()
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (transform.mean, transform.std))
    listed = [file for number in sorted(files) for file in files[number]]
    for image, index in zip(found.images[:], found.indices.tolist(), strict=True):
        with Image.open(listed[index]) as picture:
            want = transform(picture) * std + mean
        assert torch.allclose(image, want, atol=1e-6)


def test_grey_pictures_get_three_channels(tmp_path: Path) -> None:
    files = write_imagenet(tmp_path, {7: 1}, whole=False)
    Image.new("L", (300, 280), 51).save(files[7][0])
    image = data.load(spec(tmp_path, resize=40, crop=32), seed=0).images[0:1]
    assert image.shape == (1, 3, 32, 32)
    assert torch.allclose(image, torch.full_like(image, 0.2), atol=0.01)


def test_training_images_lie_beside(tmp_path: Path) -> None:
    write_imagenet(tmp_path, IMAGES, whole=False)
    with pytest.raises(DataError, match="no training images"):
        data.training_images(spec(tmp_path))
    write_imagenet(tmp_path, {1: 3, 2: 3}, whole=False, part="train")
    found = data.training_images(spec(tmp_path, train_limit=4))
    assert sorted(found.labels.tolist()) == [1, 1, 2, 2]
    assert isinstance(found.images, data.ByteImages)


def _without_mapping(root: Path) -> None:
    write_imagenet(root, IMAGES, whole=False)
    (root / MAPPING).unlink()


def _mapping(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        write_imagenet(root, IMAGES, whole=False)
        write_mapping(root / MAPPING, tuple(change(list(SYNSETS))))

    return write


def _cut_picture(root: Path) -> None:
    file = write_imagenet(root, IMAGES, whole=False)[500][0]
    file.write_bytes(file.read_bytes()[:2000])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "subset without a list": (_without_mapping, "has 3 of 1,000 synsets"),
    "no synset": (lambda root: (root / "val" / "cat").mkdir(parents=True), "directory cat, which"),
    "empty": (lambda root: (root / "val").mkdir(), "has no directory with no synset id"),
    "no pictures": (lambda root: write_imagenet(root, {}, whole=True), "holds no pictures"),
    "short list": (_mapping(lambda all_: all_[:-1]), "has 999 lines instead of 1,000"),
    "unsorted list": (_mapping(lambda all_: all_[::-1]), "in sorted order"),
    "twice in the list": (_mapping(lambda all_: [*all_[:-1], all_[-2]]), "in sorted order"),
    "strange list": (_mapping(lambda all_: ["tench", *all_[1:]]), "starts with 'tench'"),
    "not in the list": (
        _mapping(lambda all_: [one for one in all_ if one != SYNSETS[500]] + ["n99999999"]),
        f"{SYNSETS[500]} is not in",
    ),
    "cut picture": (_cut_picture, "0.JPEG cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_one_clear_sentence(case: str, tmp_path: Path) -> None:
    write, message = BAD[case]
    write(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(tmp_path), seed=0)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_missing_folder_says_where_imagenet_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder") as caught:
        data.load(spec(tmp_path / "none"), seed=0)
    assert "image-net.org" in caught.value.hint
