"""Published datasets: read as torchvision reads them, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from scipy.io import savemat

from engine import catalog, data
from engine.catalog.datasets import FILES
from engine.data.inventory import inventory
from engine.errors import DataError, SpecError
from engine.host import paths
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from tests.helpers.published import (
    pixels,
    python2_pickle,
    write_cifar,
    write_idx,
    write_mnist,
    write_svhn,
)

WRITERS: dict[str, Callable[[Path], Any]] = {
    "cifar10": write_cifar,
    "cifar100": lambda root: write_cifar(root, "cifar100", 200),
    "mnist": write_mnist,
    "svhn": write_svhn,
}
TEST_PART = {"cifar10": "test_batch", "cifar100": "test", "mnist": "t10k", "svhn": "test"}


def spec(name: str, root: Path, **keys: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": name, "root": str(root), **keys})


def in_order(found: data.ImageSet) -> tuple[torch.Tensor, list[int]]:
    """Pixels as bytes and labels, back in the order of the file."""
    order = found.indices.argsort()
    return (found.images[order] * 255).round().to(torch.uint8), found.labels[order].tolist()


@pytest.mark.parametrize("name", WRITERS)
def test_the_test_part_is_what_was_written(name: str, tmp_path: Path) -> None:
    want_pixels, want_labels = WRITERS[name](tmp_path)[TEST_PART[name]]
    found = data.load(spec(name, tmp_path), seed=4)
    got_pixels, got_labels = in_order(found)
    assert torch.equal(got_pixels, torch.from_numpy(want_pixels.copy()))
    assert got_labels == want_labels
    assert isinstance(found.images, torch.Tensor)
    assert found.images.dtype == torch.float32
    assert found.shape == want_pixels.shape[1:]
    assert len(found.class_names) == (100 if name == "cifar100" else 10)
    assert (found.id, found.label) == (name, name)


@pytest.mark.parametrize("name", WRITERS)
def test_the_training_part_is_all_the_rest_and_kept_as_bytes(name: str, tmp_path: Path) -> None:
    written = WRITERS[name](tmp_path)
    rest = [value for key, value in written.items() if key != TEST_PART[name]]
    found = data.training_images(spec(name, tmp_path))
    got_pixels, got_labels = in_order(found)
    assert torch.equal(got_pixels, torch.from_numpy(np.concatenate([part[0] for part in rest])))
    assert got_labels == [label for part in rest for label in part[1]]
    assert isinstance(found.images, data.ByteImages)
    assert found.images.pixels.dtype == torch.uint8


def test_torchvision_reads_the_same_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    theirs = torchvision.datasets.MNIST(tmp_path, train=False)
    ours = data.load(spec("mnist", tmp_path), seed=0)
    assert torch.equal(in_order(ours)[0][:, 0], theirs.data)
    assert in_order(ours)[1] == theirs.targets.tolist()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_torchvision_reads_the_same_cifar(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, name, 200)
    kind = getattr(torchvision.datasets, name.upper())
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    for train in (True, False):
        theirs = kind(tmp_path, train=train)
        ours = (
            data.training_images(spec(name, tmp_path))
            if train
            else data.load(spec(name, tmp_path), seed=0)
        )
        assert (in_order(ours)[0].permute(0, 2, 3, 1).numpy() == theirs.data).all()
        assert in_order(ours)[1] == theirs.targets
        assert list(ours.class_names) == theirs.classes


def test_torchvision_reads_the_same_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path)
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    theirs = torchvision.datasets.SVHN(str(tmp_path), split="test")
    got_pixels, got_labels = in_order(data.load(spec("svhn", tmp_path), seed=0))
    assert (got_pixels.numpy() == theirs.data).all()
    assert got_labels == theirs.labels.tolist()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_batches_of_ones_own_are_read_whatever_wrote_them(protocol: int, tmp_path: Path) -> None:
    write_cifar(tmp_path / "old")
    write_cifar(tmp_path / "new", protocol=protocol)
    old, new = (data.load(spec("cifar10", tmp_path / one), 0) for one in ("old", "new"))
    assert old.fingerprint == new.fingerprint


def test_bytes_become_the_floats_that_the_test_part_has() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = data.ByteImages(every)[:]
    want = np.arange(256, dtype=np.float32) / np.float32(255)
    assert found.dtype == torch.float32
    assert (found.flatten().numpy() == want).all()
    assert data.ByteImages(every).shape == (1, 1, 16, 16)


def test_a_training_limit_is_a_stratified_prefix(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    few, more = (data.training_images(spec("cifar10", tmp_path, train_limit=n)) for n in (20, 60))
    assert torch.equal(few.indices, more.indices[:20])
    assert np.bincount(few.labels, minlength=10).tolist() == [2] * 10
    with pytest.raises(DataError, match="train_limit is 101 but 'cifar10' has only 100 training"):
        data.training_images(spec("cifar10", tmp_path, train_limit=101))


def test_without_training_files_the_test_part_still_loads(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    assert len(data.load(spec("cifar10", tmp_path), 0)) == 20
    with pytest.raises(DataError, match="data_batch_3 is missing in"):
        data.training_images(spec("cifar10", tmp_path))


# -- what is refused ---------------------------------------------------------------------------


def _cifar(change: dict[str, Any], file: str = "test_batch") -> Callable[[Path], None]:
    def write(root: Path) -> None:
        write_cifar(root)
        table = {"data": pixels(0, 4, 3072), "labels": [0, 1, 2, 3], **change}
        table = {key: value for key, value in table.items() if value is not None}
        (root / "cifar-10-batches-py" / file).write_bytes(python2_pickle(table))

    return write


def _cut(write: Callable[[Path], Any], file: str, left: int) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        write(root)
        (root / file).write_bytes((root / file).read_bytes()[:left])

    return cut


def _mnist(images: Any, labels: Any) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        write_idx(root / "MNIST/raw/t10k-images-idx3-ubyte", images)
        write_idx(root / "MNIST/raw/t10k-labels-idx1-ubyte", labels)

    return write


def _svhn(**variables: Any) -> Callable[[Path], None]:
    return lambda root: savemat(root / "test_32x32.mat", variables)


_X = pixels(0, 32, 32, 3, 4)
BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "cifar missing": ("cifar10", lambda root: None, "batches.meta is missing in"),
    "cifar cut": (
        "cifar10",
        _cut(write_cifar, "cifar-10-batches-py/test_batch", 5000),
        "test_batch cannot be used: it is truncated",
    ),
    "cifar empty": (
        "cifar10",
        _cut(write_cifar, "cifar-10-batches-py/test_batch", 0),
        "test_batch cannot be used: it is truncated",
    ),
    "cifar shape": ("cifar10", _cifar({"data": pixels(0, 4, 3000)}), r"shape \(4, 3000\)"),
    "cifar floats": ("cifar10", _cifar({"data": np.zeros((4, 3072), "i8")}), "no array of bytes"),
    "cifar no data": ("cifar10", _cifar({"data": None}), "has no data"),
    "cifar no labels": ("cifar10", _cifar({"labels": None}), "has no labels"),
    "cifar few labels": ("cifar10", _cifar({"labels": [1]}), "4 images but not as many labels"),
    "cifar far label": ("cifar10", _cifar({"labels": [0, 1, 2, 10]}), "labels from 0 to 10, but"),
    "cifar negative": ("cifar10", _cifar({"labels": [0, 1, 2, -1]}), "labels from -1 to 2, but"),
    "cifar words": ("cifar10", _cifar({"labels": ["a"] * 4}), "not as many labels"),
    "cifar names": (
        "cifar10",
        _cifar({"label_names": ["a", "b"]}, "batches.meta"),
        "names 2 classes instead of 10",
    ),
    "cifar no names": ("cifar10", _cifar({}, "batches.meta"), "has no label_names"),
    "mnist missing": ("mnist", lambda root: None, "t10k-images-idx3-ubyte is missing in"),
    "mnist cut": (
        "mnist",
        _cut(write_mnist, "MNIST/raw/t10k-images-idx3-ubyte", 3000),
        "images-idx3-ubyte cannot be used: it is truncated",
    ),
    "mnist cut in the header": (
        "mnist",
        _cut(write_mnist, "MNIST/raw/t10k-labels-idx1-ubyte", 6),
        "labels-idx1-ubyte cannot be used: it is truncated",
    ),
    "mnist size": ("mnist", _mnist(pixels(0, 2, 28, 27), np.arange(2)), "28x27 instead of 28x28"),
    "mnist axes": ("mnist", _mnist(pixels(0, 2, 28), np.arange(2)), "no idx file of bytes"),
    "mnist count": ("mnist", _mnist(pixels(0, 2, 28, 28), np.arange(3)), "3 labels for 2 images"),
    "mnist label": ("mnist", _mnist(pixels(0, 1, 28, 28), np.array([11])), "from 11 to 11, but"),
    "svhn missing": ("svhn", lambda root: None, "test_32x32.mat is missing in"),
    "svhn cut": ("svhn", _cut(write_svhn, "test_32x32.mat", 4000), "it is truncated"),
    "svhn text": (
        "svhn",
        lambda root: (root / "test_32x32.mat").write_text("hello " * 99),
        "it is no MATLAB file",
    ),
    "svhn no y": ("svhn", _svhn(X=_X), "no variable y"),
    "svhn shape": ("svhn", _svhn(X=_X[:31], y=np.ones((4, 1), "u1")), r"\(31, 32, 3, 4\) instead"),
    "svhn count": ("svhn", _svhn(X=_X, y=np.ones((3, 1), "u1")), r"\(3, 1\) for 4 images"),
    "svhn label": ("svhn", _svhn(X=_X, y=np.arange(4).reshape(4, 1)), "from 0 to 3 instead of 1"),
    "svhn none": ("svhn", _svhn(X=_X[..., :0], y=np.ones((0, 1), "u1")), "holds no labels"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_clear_sentence(case: str, tmp_path: Path) -> None:
    name, write, message = BAD[case]
    write(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        data.load(spec(name, tmp_path), seed=0)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_root_says_how_to_get_the_data(name: str, tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(DataError, match=f"there is no folder {root}") as caught:
        data.load(spec(name, root), seed=0)
    assert f"crumple data {name} --root {root} --download" in caught.value.hint


class _Payload:
    """What an attacker would put in a pickle: loading it leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_ran(
    protocol: int, tmp_path: Path
) -> None:
    write_cifar(tmp_path)
    trace = tmp_path / "trace"
    table = {"data": pixels(0, 2, 3072), "labels": [0, 1], "more": _Payload(trace)}
    bad = pickle.dumps(table, protocol)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(bad)
    with pytest.raises(DataError, match=r"asks to load (posix|nt)\.system.*could run code"):
        data.load(spec("cifar10", tmp_path), seed=0)
    assert not trace.exists()
    pickle.loads(bad)
    assert trace.exists(), "the payload is none: the test would pass without a guard"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (b"cbuiltins\neval\n.", "asks to load"),
        (b"cnumpy\nfromfile\n.", "asks to load"),
        (b"cnumpy.core.multiarray\nfromstring\n.", "asks to load"),
        # Numbers of NumPy are plain values: what makes them here is ours, and no table.
        (b"cnumpy.core.multiarray\nscalar\n.", "no pickled table"),
    ],
)
def test_a_pickle_gets_arrays_and_numbers_and_nothing_else_of_numpy(
    asked: bytes, words: str, tmp_path: Path
) -> None:
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"\x80\x02" + asked)
    with pytest.raises(DataError, match=words):
        data.load(spec("cifar10", tmp_path), seed=0)


def test_more_images_than_memory_holds_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path)
    monkeypatch.setattr("engine.data.loading.MOST_BYTES", 10 * 3072 * 4)
    with pytest.raises(DataError, match="20 images take") as caught:
        data.load(spec("cifar10", tmp_path), seed=0)
    assert caught.value.hint == "Set limit to 10 or less."
    assert len(data.load(spec("cifar10", tmp_path, limit=10), seed=0)) == 10


# -- the spec, the catalogue and where things lie ----------------------------------------------


def test_the_catalogue_asks_for_the_files_that_torchvision_has() -> None:
    for name in ("cifar10", "cifar100"):
        kind = getattr(torchvision.datasets, name.upper())
        theirs = [*kind.test_list, *kind.train_list, [kind.meta["filename"], ""]]
        want = {f"{kind.base_folder}/{file}" for file, _ in theirs}
        assert {*FILES[name].test, *FILES[name].training} == want
    mnist = {f"MNIST/raw/{Path(file).stem}" for file, _ in torchvision.datasets.MNIST.resources}
    assert {*FILES["mnist"].test, *FILES["mnist"].training} == mnist
    for part, files in (("train", FILES["svhn"].training), ("test", FILES["svhn"].test)):
        assert files == (torchvision.datasets.SVHN.split_list[part][1],)


def test_the_usual_root_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUMPLE_DATASETS", str(tmp_path))
    write_mnist(tmp_path)
    assert len(data.load(DatasetSpec(name="mnist"), seed=0)) == 20
    monkeypatch.delenv("CRUMPLE_DATASETS")
    assert paths.datasets().parts[-2:] == ("crumple", "datasets")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "digits", "root": "/data"}, "takes root only with the name cifar10"),
        ({"folder": "/data", "root": "/data"}, "takes root only with the name"),
        ({"name": "cifar10", "root": ""}, "root"),
        ({"name": "cifar10", "crop": 32}, "takes crop only with the name imagenet"),
        ({"name": "imagenet", "crop": 300}, "cannot crop 300 from pictures resized to 256"),
        ({"name": "cifar10", "train_limit": 0}, "train_limit is 0 but"),
    ],
)
def test_keys_that_do_not_go_together(table: dict[str, Any], message: str) -> None:
    study = {
        "name": "x",
        "dataset": table,
        "model": [{"name": "digits-resnet"}],
        "attack": [{"name": "fgsm"}],
    }
    with pytest.raises(SpecError, match=message) as caught:
        Study.from_dict(study)
    assert "\n" not in str(caught.value)


def test_a_study_keeps_its_keys(tmp_path: Path) -> None:
    study = Study.from_dict(
        {
            "name": "x",
            "dataset": {"name": "cifar10", "root": "/data", "limit": 5, "train_limit": 7},
            "model": [{"name": "digits-resnet"}],
            "attack": [{"name": "fgsm"}],
        }
    )
    file = tmp_path / "study.toml"
    file.write_text(study.to_toml(), "utf-8")
    assert Study.from_toml(file) == study
    assert study.dataset.place == "/data"


def test_the_inventory_tells_published_files_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets.utils import calculate_md5

    write_cifar(tmp_path, "cifar100")
    (tmp_path / "cifar-100-python" / "train").unlink()
    test = tmp_path / "cifar-100-python" / "test"
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "test_list", [["test", calculate_md5(test)]])
    states = {one.name: one.state for one in inventory("cifar100", tmp_path)}
    assert states == {
        "cifar-100-python/meta": "differs",
        "cifar-100-python/test": "published",
        "cifar-100-python/train": "missing",
    }


def test_images_of_another_dataset_do_not_fit(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=r"are 1x28x28 .* takes 1x8x8"):
        data.check_fits(data.load(spec("mnist", tmp_path), 0), catalog.model_card("digits-resnet"))
