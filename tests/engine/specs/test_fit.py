"""Early words on a model that cannot take the images agree with the engine's own check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import catalog, data
from engine.data.loading import misfit as engine_misfit
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import ImagesFound, look_at, misfit
from tests.helpers.published import write_mnist, write_svhn


def save(path: Path, mode: str, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def folder_of(root: Path, classes: int, mode: str, size: tuple[int, int]) -> Path:
    for number in range(classes):
        save(root / f"class{number}" / "a.png", mode, size)
    return root


def seen(spec: DatasetSpec) -> tuple[tuple[int, int, int], int]:
    images = data.load(spec, seed=0)
    return images.shape, len(images.class_names)


@pytest.mark.parametrize(("mode", "size"), [("L", (9, 8)), ("RGB", (8, 9)), ("P", (7, 7))])
@pytest.mark.parametrize("inside", ["", "test", "val"])
def test_a_folder_looks_like_what_the_engine_loads(
    tmp_path: Path, mode: str, size: tuple[int, int], inside: str
) -> None:
    folder_of(tmp_path / inside, 3, mode, size)
    spec = DatasetSpec(folder=str(tmp_path))
    look = look_at(spec)
    assert (look.shape, look.classes) == seen(spec)
    assert not look.at_least


@pytest.mark.parametrize("end", ["", "_test"])
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_an_archive_looks_like_what_the_engine_loads(tmp_path: Path, end: str, kind: str) -> None:
    x = np.zeros((4, 5, 6, 3), np.uint8) if kind == "bytes" else np.zeros((4, 3, 5, 6), np.float32)
    np.savez(tmp_path / "a.npz", **{f"x{end}": x, f"y{end}": np.array([0, 2, 6, 1])})
    spec = DatasetSpec(npz=str(tmp_path / "a.npz"))
    look = look_at(spec)
    assert (look.shape, look.classes) == seen(spec) == ((3, 5, 6), 7)
    assert look.at_least


@pytest.mark.parametrize(("name", "write"), [("mnist", write_mnist), ("svhn", write_svhn)])
def test_published_datasets_are_known(tmp_path: Path, name: str, write: object) -> None:
    write(tmp_path)  # type: ignore[operator]
    spec = DatasetSpec(name=name, root=str(tmp_path))
    look = look_at(spec)
    assert (look.shape, look.classes) == seen(spec)


def test_digits_are_known_and_imagenet_by_its_crop() -> None:
    spec = DatasetSpec(name="digits")
    assert (look_at(spec).shape, look_at(spec).classes) == seen(spec)
    crop = DatasetSpec(name="imagenet", crop=200)
    assert look_at(crop) == ImagesFound((3, 200, 200), None)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"no archive", b"PK\x05\x06" + bytes(18)], ids=repr
)
def test_what_is_broken_is_left_to_the_engine(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    assert look_at(DatasetSpec(npz=str(tmp_path / "a.npz"))) == ImagesFound()
    assert look_at(DatasetSpec(npz=str(tmp_path))) == ImagesFound()
    assert look_at(DatasetSpec(folder=str(tmp_path / "none"))) == ImagesFound()
    assert look_at(DatasetSpec(folder=str(tmp_path))) == ImagesFound()


@pytest.mark.parametrize("shape", [(8, 8), (9, 8)])
@pytest.mark.parametrize("classes", [9, 10, 11])
@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_the_words_come_when_the_engine_would_refuse(
    tmp_path: Path, shape: tuple[int, int], classes: int, kind: str
) -> None:
    if kind == "folder":
        spec = DatasetSpec(folder=str(folder_of(tmp_path, classes, "L", shape)))
    else:
        x = np.zeros((classes, *shape[::-1], 1), np.uint8)
        np.savez(tmp_path / "a.npz", x=x, y=np.arange(classes))
        spec = DatasetSpec(npz=str(tmp_path / "a.npz"))
    card = catalog.model_card("digits-resnet")
    refused = engine_misfit(data.load(spec, seed=0), card)
    said = misfit(look_at(spec), card)
    assert bool(said) == (refused is not None)
    if shape == (8, 8) and said:
        assert f"{classes} classes" in said
