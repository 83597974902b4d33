"""Datasets: the split, the stratified order, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine import catalog, data
from engine.data.image_set import stratified_order
from engine.errors import DataError
from engine.specs.dataset import DatasetSpec


def _rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_digits_split_is_the_whole_of_scikit_learn_and_disjoint() -> None:
    from sklearn.datasets import load_digits

    test = data.load(DatasetSpec(name="digits"), seed=3)
    training = data.training_images("digits")
    assert (len(test), len(training), test.shape) == (500, 1297, (1, 8, 8))
    everything = load_digits().images.astype(np.float32)[:, None] / 16
    assert _rows(test.images) | _rows(training.images) == _rows(torch.from_numpy(everything))
    assert not _rows(test.images) & _rows(training.images)
    assert test.images.dtype == torch.float32
    assert (float(test.images.min()), float(test.images.max())) == (0.0, 1.0)


def test_digits_labels_belong_to_their_images() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    known = {
        image.astype(np.float32).tobytes(): int(label)
        for image, label in zip(bunch.images / 16, bunch.target, strict=True)
    }
    test = data.load(DatasetSpec(name="digits", limit=100), seed=1)
    assert [known[image.numpy().tobytes()] for image in test.images] == test.labels.tolist()


def test_split_does_not_depend_on_the_seed_and_indices_name_the_image() -> None:
    one, two = (data.load(DatasetSpec(name="digits"), seed) for seed in (0, 1))
    assert not torch.equal(one.indices, two.indices)
    assert torch.equal(one.images[one.indices.argsort()], two.images[two.indices.argsort()])


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    seed=st.integers(0, 2**31 - 1),
)
@example(counts=[1, 1, 1, 1, 11], seed=0)
@example(counts=[7] * 6, seed=3)
@settings(max_examples=40, deadline=None)
def test_every_prefix_of_the_order_is_stratified(counts: list[int], seed: int) -> None:
    """Image i of n stands at (i + 1/2) / n, so a cut at t holds t n of a class within 1/2.

    Of all classes it holds t N within K / 2, which the fair share of a class has its part of.
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    for length in range(1, len(labels) + 1):
        found = np.bincount(labels[order[:length]], minlength=len(counts))
        fair = length * np.array(counts) / len(labels)
        bound = (1 + len(counts) * np.array(counts) / len(labels)) / 2
        assert (np.abs(found - fair) <= bound + 1e-9).all()


def test_limit_is_a_prefix_and_depends_on_the_seed() -> None:
    small, large, other = (
        data.load(DatasetSpec(name="digits", limit=limit), seed)
        for limit, seed in ((50, 7), (200, 7), (50, 8))
    )
    assert torch.equal(small.indices, large.indices[:50])
    assert not torch.equal(small.indices, other.indices)
    assert np.bincount(small.labels).tolist() == pytest.approx([5] * 10, abs=1)


def test_limit_above_the_size_names_both() -> None:
    with pytest.raises(DataError, match=r"501.*500"):
        data.load(DatasetSpec(name="digits", limit=501), seed=0)


def test_fingerprint_is_that_of_the_content() -> None:
    one = data.load(DatasetSpec(name="digits", limit=20), seed=0)
    content = repr(tuple(one.images.shape)).encode()
    content += one.images.numpy().tobytes() + one.labels.numpy().tobytes()
    assert one.fingerprint == hashlib.sha256(content).hexdigest()
    assert data.load(DatasetSpec(name="digits", limit=20), seed=0).fingerprint == one.fingerprint
    assert data.load(DatasetSpec(name="digits", limit=20), seed=1).fingerprint != one.fingerprint


def test_loading_leaves_the_global_random_states_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    data.load(DatasetSpec(name="digits", limit=20), seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def _picture(path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(path)


def test_folder_classes_by_name_grey_stays_grey(tmp_path: Path) -> None:
    for name, value in (("b", 255), ("a", 51)):
        _picture(tmp_path / name / "1.png", value)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    found = data.load(DatasetSpec(folder=str(tmp_path)), seed=0)
    assert found.class_names == ("a", "b")
    assert found.shape == (1, 8, 8)
    values = {int(label): float(image.max()) for image, label in zip(*_pair(found), strict=True)}
    assert values == pytest.approx({0: 0.2, 1: 1.0})


def _pair(found: data.ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    return found.images, found.labels


def test_one_colour_picture_makes_all_rgb_in_channel_order(tmp_path: Path) -> None:
    _picture(tmp_path / "a" / "1.png", 0)
    _picture(tmp_path / "b" / "1.png", 51, mode="RGB")
    found = data.load(DatasetSpec(folder=str(tmp_path)), seed=0)
    colour = found.images[found.labels == 1][0]
    assert found.shape == (3, 8, 8)
    assert colour[:, 0, 0].tolist() == pytest.approx([0.2, 0.0, 1.0])


def _truncated(path: Path) -> None:
    noise = np.random.RandomState(0).randint(0, 255, (64, 64), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900])


BAD_FOLDERS = {
    "empty": (lambda root: None, "is empty"),
    "no classes": (lambda root: _picture(root / "1.png"), "no directory per class"),
    "empty class": (lambda root: (root / "a").mkdir(), "holds no pictures"),
    "mixed sizes": (
        lambda root: [_picture(root / "a" / f"{n}.png", size=(n, 8)) for n in (8, 9)],
        "differ in size: 9.png is 9x8",
    ),
    "not a picture": (
        lambda root: [_picture(root / "a" / "1.png"), (root / "a" / "2.png").write_bytes(b"x")],
        "2.png cannot be read",
    ),
    "truncated": (lambda root: _truncated(root / "a" / "1.png"), "1.png cannot be read"),
    "16 bit": (
        lambda root: [
            (root / "a").mkdir(),
            Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "a" / "1.png"),
        ],
        "pixel format I;16",
    ),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_folder_is_one_clear_sentence(name: str, tmp_path: Path) -> None:
    make, message = BAD_FOLDERS[name]
    make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        data.load(DatasetSpec(folder=str(tmp_path)), seed=0)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        data.load(DatasetSpec(folder=str(tmp_path / "none")), seed=0)


def test_npz_forms_agree(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "nhwc.npz", x=pixels, y=labels)
    np.savez(tmp_path / "nchw.npz", x=pixels.transpose(0, 3, 1, 2) / 255, y=labels)
    one, two = (
        data.load(DatasetSpec(npz=str(tmp_path / f"{name}.npz")), seed=0)
        for name in ("nhwc", "nchw")
    )
    assert one.shape == (3, 5, 4)
    assert torch.allclose(one.images, two.images, atol=1e-7)
    assert torch.equal(one.labels, torch.from_numpy(labels)[one.indices])


_X = np.zeros((2, 8, 8, 1), np.uint8)
BAD_ARCHIVES = {
    "no y": ({"x": _X}, "no array 'y"),
    "counts": ({"x": _X, "y": np.array([0])}, "2 images but y"),
    "negative": ({"x": _X, "y": np.array([0, -1])}, "integers from 0 up"),
    "float labels": ({"x": _X, "y": np.array([0.0, 1.0])}, "integers from 0 up"),
    "three axes": ({"x": _X[..., 0], "y": np.array([0, 1])}, "shape"),
    "range": ({"x": np.full((2, 1, 8, 8), 255.0), "y": np.array([0, 1])}, "255 instead of 0 to 1"),
    "nan": ({"x": np.full((2, 1, 8, 8), np.nan), "y": np.array([0, 1])}, "instead of 0 to 1"),
    "none": ({"x": _X[:0], "y": np.array([], int)}, "above 0"),
    "objects": ({"x": np.array([{}, {}]), "y": np.array([0, 1])}, "damaged or no NumPy archive"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_npz_is_one_clear_sentence(name: str, tmp_path: Path) -> None:
    arrays, message = BAD_ARCHIVES[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        data.load(DatasetSpec(npz=str(tmp_path / "bad.npz")), seed=0)


def test_truncated_npz(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    np.savez_compressed(path, x=np.random.RandomState(0).rand(9, 1, 8, 8), y=np.arange(9))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="damaged"):
        data.load(DatasetSpec(npz=str(path)), seed=0)


def test_check_fits_names_shape_and_classes(tmp_path: Path) -> None:
    card = catalog.model_card("digits-resnet")
    data.check_fits(data.load(DatasetSpec(name="digits", limit=10), seed=0), card)
    for number in range(2):
        _picture(tmp_path / "few" / str(number) / "1.png")
        _picture(tmp_path / "big" / str(number) / "1.png", size=(9, 8))
    few = data.load(DatasetSpec(folder=str(tmp_path / "few")), seed=0)
    with pytest.raises(DataError, match="has 2 classes but the model 'digits-resnet' knows 10"):
        data.check_fits(few, card)
    big = data.load(DatasetSpec(folder=str(tmp_path / "big")), seed=0)
    with pytest.raises(DataError, match=r"are 1x8x9 .* takes 1x8x8"):
        data.check_fits(big, card)


def test_a_label_that_is_no_class_number_is_refused_and_not_counted_up_to(tmp_path: Path) -> None:
    x, y = np.zeros((2, 1, 8, 8), np.float32), np.array([0, 10**10])
    np.savez(tmp_path / "far.npz", x=x, y=y)
    with pytest.raises(DataError, match="y reaches 10000000000"):
        data.load(DatasetSpec(npz=str(tmp_path / "far.npz")), 0)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_an_unknown_home_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match="unknown home folder"):
        data.load(DatasetSpec.model_validate({kind: "~no-such-user-here/x"}), 0)


def test_a_folder_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(DataError, match=r"cannot be read: Permission denied\."):
        data.load(DatasetSpec(folder=str(tmp_path)), 0)


@pytest.mark.parametrize("table", [{"folder": "x"}, {"npz": "x"}, {"name": "mnist", "root": "x"}])
def test_a_path_that_cannot_be_is_refused(table: dict[str, str]) -> None:
    key = list(table)[-1]
    with pytest.raises(DataError, match=r"The path 'xxx.* cannot be used: File name too long"):
        data.load(DatasetSpec.model_validate(table | {key: "x" * 3000}), 0)
