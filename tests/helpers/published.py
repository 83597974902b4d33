"""Small datasets in the very formats of the published ones."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from engine.data.imagenet import MAPPING

SYNSETS = tuple(f"n{1_000_000 + 7 * number:08d}" for number in range(1000))


def pixels(seed: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random bytes."""
    return np.random.RandomState(seed).randint(0, 256, shape, dtype=np.uint8)


def python2_pickle(value: Any) -> bytes:
    """A pickle as Python 2 and NumPy 1 wrote it: protocol 2, text and bytes both as strings."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    match value:
        case dict():
            pairs = b"".join(_python2(part) for pair in value.items() for part in pair)
            return b"}(" + pairs + b"u"
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case str() | bytes():
            raw = value.encode("latin1") if isinstance(value, str) else value
            return b"T" + struct.pack("<i", len(raw)) + raw
        case int():
            return b"J" + struct.pack("<i", value)
        case np.ndarray():
            return _python2_array(value)
    raise TypeError(type(value))


def _python2_array(array: np.ndarray[Any, Any]) -> bytes:
    shape = b"(" + b"".join(map(_python2, array.shape)) + b"t"
    dtype = b"cnumpy\ndtype\n(" + _python2(array.dtype.str[1:]) + b"K\x00K\x01tR"
    dtype += b"(K\x03" + _python2("|") + b"NNN" + _python2(-1) + _python2(-1) + b"K\x00tb"
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _python2("b") + b"tR"
    )
    return start + b"(K\x01" + shape + dtype + b"I00\n" + _python2(array.tobytes()) + b"tb"


def write_cifar(
    root: Path, name: str = "cifar10", count: int = 20, protocol: int | None = None
) -> dict[str, tuple[np.ndarray[Any, Any], list[int]]]:
    """CIFAR batches of ``count`` images each; without a protocol as Python 2 wrote them.

    Returns:
        By file name, the pixels (N, 3, 32, 32) and labels.
    """
    ten = name == "cifar10"
    folder = root / ("cifar-10-batches-py" if ten else "cifar-100-python")
    folder.mkdir(parents=True, exist_ok=True)
    classes = 10 if ten else 100
    meta, key = ("batches.meta", "label_names") if ten else ("meta", "fine_label_names")
    _write(folder / meta, {key: [f"class {number}" for number in range(classes)]}, protocol)
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    written = {}
    for seed, file in enumerate(files if ten else ["train", "test"]):
        data = pixels(seed, count, 3072)
        labels = [(number * 3 + seed) % classes for number in range(count)]
        labels_key = "labels" if ten else "fine_labels"
        _write(folder / file, {"data": data, labels_key: labels, "batch_label": "x"}, protocol)
        written[file] = (data.reshape(-1, 3, 32, 32), labels)
    return written


def _write(file: Path, table: dict[str, Any], protocol: int | None) -> None:
    old = protocol is None
    file.write_bytes(python2_pickle(table) if old else pickle.dumps(table, protocol))


def write_idx(file: Path, array: np.ndarray[Any, Any]) -> None:
    """Bytes in the idx format."""
    file.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, count: int = 20) -> dict[str, tuple[np.ndarray[Any, Any], list[int]]]:
    """MNIST files of ``count`` images a part."""
    written = {}
    for seed, part in enumerate(("train", "t10k")):
        images, labels = pixels(seed, count, 28, 28), [(n + seed) % 10 for n in range(count)]
        write_idx(root / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", images)
        write_idx(root / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.array(labels))
        written[part] = (images[:, None], labels)
    return written


def write_svhn(root: Path, count: int = 20) -> dict[str, tuple[np.ndarray[Any, Any], list[int]]]:
    """SVHN files of ``count`` images a part; in the files the digit 0 is 10."""
    written = {}
    for seed, part in enumerate(("train", "test")):
        images, labels = pixels(seed, count, 3, 32, 32), [(n + seed) % 10 for n in range(count)]
        written_as = np.array([[label or 10] for label in labels], np.uint8)
        savemat(
            root / f"{part}_32x32.mat",
            {"X": images.transpose(2, 3, 1, 0), "y": written_as},
            do_compression=True,
        )
        written[part] = (images, labels)
    return written


def write_mapping(file: Path, synsets: tuple[str, ...] = SYNSETS) -> None:
    """The list of synsets in the format of Kaggle."""
    lines = (f"{synset} thing {number}, other name\n" for number, synset in enumerate(synsets))
    file.write_text("".join(lines), "utf-8")


def write_imagenet(
    root: Path, images: dict[int, int], *, whole: bool, part: str = "val"
) -> dict[int, list[Path]]:
    """A folder with so many pictures of these classes.

    Args:
        root: gets ``part``.
        images: number of pictures by class number.
        whole: whether all 1,000 directories exist; else a mapping file lies in the root.
        part: ``val`` or ``train``.
    """
    for synset in SYNSETS if whole else [SYNSETS[number] for number in images]:
        (root / part / synset).mkdir(parents=True)
    if not whole:
        write_mapping(root / MAPPING)
    written: dict[int, list[Path]] = {}
    for number, count in images.items():
        for place in range(count):
            file = root / part / SYNSETS[number] / f"{place}.JPEG"
            smooth = pixels(1000 * number + place, 6, 8, 3)
            Image.fromarray(smooth).resize((400, 300 + place)).save(file, "JPEG", quality=95)
            written.setdefault(number, []).append(file)
    return written
