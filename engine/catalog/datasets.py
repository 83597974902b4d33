"""The datasets on offer, and which files of the published ones must lie where."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from engine.catalog.entry import Entry, Section, section


@dataclass(frozen=True)
class Files:
    """The files of a published dataset below its root, as torchvision lays them out.

    Attributes:
        test: what the test images need.
        training: what the training images need beside.
    """

    test: tuple[str, ...]
    training: tuple[str, ...]


FILES = {
    "cifar10": Files(
        test=("cifar-10-batches-py/batches.meta", "cifar-10-batches-py/test_batch"),
        training=tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
    ),
    "cifar100": Files(
        test=("cifar-100-python/meta", "cifar-100-python/test"),
        training=("cifar-100-python/train",),
    ),
    "svhn": Files(test=("test_32x32.mat",), training=("train_32x32.mat",)),
    "mnist": Files(
        test=("MNIST/raw/t10k-images-idx3-ubyte", "MNIST/raw/t10k-labels-idx1-ubyte"),
        training=("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte"),
    ),
}
"""The datasets that can be downloaded."""

ROOTED = (*FILES, "imagenet")
"""The datasets whose pictures lie below a root."""


def missing_files(name: str, root: Path) -> tuple[str, ...]:
    """What of a published dataset is not there, training images included."""
    files = FILES[name]
    return tuple(one for one in (*files.test, *files.training) if not os.path.isfile(root / one))


def entries() -> Section:
    """All datasets, by id. Their parameters are the fields of ``specs.DatasetSpec``."""
    return section(
        Entry(
            id="digits",
            title="Digits (8x8)",
            family="bundled",
            summary="1,797 real handwritten digits, grey, 8x8; 500 are the test set.",
            paper="Alpaydin & Kaynak 1998, UCI; shipped with scikit-learn",
        ),
        *_published(),
        Entry(
            id="imagenet",
            title="ImageNet (224x224)",
            family="own",
            summary="The validation folder of ILSVRC 2012, 1,000 classes, resized and cropped.",
            paper="Russakovsky 2015, arXiv 1409.0575",
            limits=(
                "Must be fetched from image-net.org by hand. A folder with fewer than 1,000 "
                "directories needs LOC_synset_mapping.txt."
            ),
        ),
        Entry(
            id="folder",
            title="Folder of pictures",
            family="own",
            summary=(
                "One directory per class, any format Pillow reads; or train/ and test/ (or val/) "
                "with one directory per class each."
            ),
            paper="",
            limits="Pictures of other sizes than the model's need resize and crop.",
        ),
        Entry(
            id="npz",
            title="NumPy archive",
            family="own",
            summary=(
                "x as uint8 NHWC or float NCHW in [0,1], y as integers; x_train and y_train too "
                "if there are training images."
            ),
            paper="",
        ),
    )


def _published() -> tuple[Entry, ...]:
    return (
        Entry(
            id="cifar10",
            title="CIFAR-10 (32x32)",
            family="download",
            summary="60,000 colour photos of 10 classes, 32x32; 10,000 are the test set.",
            paper="Krizhevsky 2009, tech report",
        ),
        Entry(
            id="cifar100",
            title="CIFAR-100 (32x32)",
            family="download",
            summary="60,000 colour photos of 100 classes, 32x32; 10,000 are the test set.",
            paper="Krizhevsky 2009, tech report",
        ),
        Entry(
            id="svhn",
            title="SVHN (32x32)",
            family="download",
            summary="House numbers in colour, 32x32; 26,032 test and 73,257 training images.",
            paper="Netzer 2011, NIPS workshop on deep learning",
        ),
        Entry(
            id="mnist",
            title="MNIST (28x28)",
            family="download",
            summary="70,000 handwritten digits, grey, 28x28; 10,000 are the test set.",
            paper="LeCun 1998, Proc. IEEE 86(11)",
        ),
    )
