"""Archives with damage and bait: npz and zip as images, pt and pt2 as checkpoints."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import data
from engine.importing.source import export
from engine.importing.state_dict_file import from_file
from engine.importing.whole_network import from_program
from engine.models.registry import build
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import look_at
from tests.campaign.tally import Wrong, damaged, main


class Bait:
    """Unpickling it would leave a file outside of the folder of the round."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("open('../bait', 'w').close()",))


def npz(rng: random.Random) -> bytes:
    """An archive of eight images, in one of its forms, or with a wrong part."""
    x: Any = np.random.RandomState(0).randint(0, 256, (8, 6, 5, 3), dtype=np.uint8)
    y: Any = np.arange(8) % 3
    match rng.randrange(12):
        case 0:
            x = x.transpose(0, 3, 1, 2) / 255
        case 1:
            x = x.astype(
                rng.choice((np.int64, np.float16, np.complex64, np.bool_, "S4", np.float64))
            )
        case 2:
            y = y.astype(rng.choice((np.int8, np.uint64, np.float32, np.bool_, "U3")))
        case 3:
            y = y + rng.choice((-1, 2**31, 2**62, 99_999))
        case 4:
            x = np.array([Bait()] * 8, dtype=object)
        case 5:
            y = np.array([Bait()] * 8, dtype=object)
        case 6:
            x = x[: rng.randrange(8), :, : rng.randrange(2)]
        case 7:
            x = np.where(x > 250, np.nan, x / 255).transpose(0, 3, 1, 2)
    ends = rng.choice((("",), ("",), ("_test",), ("_train",), ("_test", "_train")))
    arrays = {f"{name}{end}": value for end in ends for name, value in (("x", x), ("y", y))}
    file = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(file, **arrays)
    return file.getvalue()


def zip_with_bait(rng: random.Random) -> bytes:
    """Names that climb, claims that are huge, and the same name twice."""
    file = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(np.zeros((2, 2), np.uint8))
    header["shape"] = rng.choice(((2, 2), (2**40,), (2**20, 2**20, 1, 1), (-1, 4), (4, 8, 8, 1)))
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header)
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as zip_:
        for name in ("x", "y"):
            climbing = rng.choice(("", "", "../", "../../../", "/tmp/", "..\\"))
            body = array.getvalue() + bytes(rng.choice((0, 4, 256, 10**6)))
            zip_.writestr(f"{climbing}{name}.npy", body)
    return file.getvalue()


@cache
def checkpoint(form: str) -> bytes:
    """A small network, as one of the containers people have."""
    with torch.random.fork_rng(devices=[]):
        net = build("digits-resnet-tiny", (1, 8, 8), 10)
    file = io.BytesIO()
    state: Any = net.state_dict()
    match form:
        case "program":
            return export(net.eval(), (1, 8, 8), "net")
        case "safetensors":
            from safetensors.torch import save

            return save(state)
        case "bait":
            state = {"state_dict": state, "args": Bait()}
        case "pickle":
            return pickle.dumps(Bait())
    torch.save(state, file, _use_new_zipfile_serialization=form != "old")
    return file.getvalue()


def with_header(content: bytes, rng: random.Random) -> bytes:
    """safetensors with another length or another header."""
    length = rng.choice((0, 1, 2**32, 2**63, 2**64 - 1, len(content)))
    return struct.pack("<Q", length) + content[8:]


def attempt(rng: random.Random, folder: Path) -> str:
    """Use an archive as what its name says."""
    if rng.random() < 0.6:
        return _images(rng, folder)
    form = rng.choice(("zip", "zip", "old", "safetensors", "program", "bait", "pickle"))
    whole = checkpoint(form)
    content = damaged(whole, rng) if rng.random() < 0.85 else whole
    if form == "safetensors" and rng.random() < 0.3:
        content = with_header(whole, rng)
    file = folder / (
        "m.pt2" if form == "program" else f"m.{rng.choice(('pt', 'pth', 'safetensors'))}"
    )
    file.write_bytes(content)
    if form == "program":
        patient = from_program(file, (1, 8, 8))
    else:
        patient = from_file(file, part=None, architecture=None, density=None, shape=None)
    if content != whole and form == "bait":
        return "damaged bait"
    if patient is not None and not patient.state and patient.module is None:
        raise Wrong("nothing was read and nothing said")
    return form


def _images(rng: random.Random, folder: Path) -> str:
    hostile = rng.random() < 0.2
    whole = zip_with_bait(rng) if hostile else npz(rng)
    content = damaged(whole, rng) if rng.random() < 0.7 else whole
    file = folder / "x.npz"
    file.write_bytes(content)
    spec = DatasetSpec(npz=str(file))
    look_at(spec)
    images = data.load(spec, 0)
    pixels = images.images[:]
    if not (pixels.isfinite().all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise Wrong("pixels outside of [0,1]")
    data.loading.training_part(spec)
    return "npz"


if __name__ == "__main__":
    main("archives", attempt, 1000)
