"""Files that are not what they should be: one sentence, nothing run, nothing stored."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors

from engine.errors import CrumpleError, ModelError
from engine.importing.doctor import Request, import_model
from engine.importing.read import read
from engine.importing.state_dict_file import from_file
from engine.models.files import safe_pickle
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


def state() -> dict[str, torch.Tensor]:
    return KuangResNet18(width=4).state_dict()


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def legacy(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def bomb(_: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", zipped(state()))
        archive.writestr("m/data/0", b"\0" * 50_000_000)
    return buffer.getvalue()


def declared_too_large(_: Path) -> bytes:
    """A storage of 2**40 elements in a file of a few kilobytes."""
    content = legacy({"w": torch.zeros(4, 4)})
    assert content.count(b"K\x10N") == 1  # BININT1 16, NONE: elements, no view
    return content.replace(b"K\x10N", b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"N")


def expanded(_: Path) -> bytes:
    """One number, said to be a matrix of 10^12."""
    return zipped({"w": torch.zeros(1).expand(10**6, 10**6)})


def truncated_safetensors(_: Path) -> bytes:
    return save_safetensors(state())[:-100]


def huge_header(_: Path) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    return struct.pack("<Q", len(header)) + header.encode() + b"\0" * 64


def tarred(_: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return buffer.getvalue()


def torchscript(_: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/data.pkl", b"")
    return buffer.getvalue()


def deflated_torchscript(_: Path) -> bytes:
    """As torch.jit.save writes it: the code deflated, the tensors stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("m/data.pkl", b"")
        target.writestr("m/code/__torch__.py", b"x" * 5000, zipfile.ZIP_DEFLATED)
        target.writestr("m/constants.pkl", b"")
    return buffer.getvalue()


def archive(entry: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(entry, b"12")
    return buffer.getvalue()


def quantised_too_large(_: Path) -> bytes:
    """Nine codes, said to be a matrix of 10^12."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codes = torch.quantize_per_tensor(torch.rand(1, 1), 0.1, 0, torch.qint8)
    content = legacy({"a.weight": codes})
    assert content.count(b"K\x01K\x01\x86") == 2  # its size and its strides
    big = b"\x8a\x06" + (10**6).to_bytes(6, "little")
    return content.replace(b"K\x01K\x01\x86", big + big + b"\x86", 1)


def array_too_large(_: Path) -> bytes:
    """One number of NumPy, said to be a matrix of 10^12."""
    content = legacy({**state(), "conv1.weight": np.zeros((3, 5), np.uint8)})
    assert content.count(b"K\x03K\x05\x86") == 1
    big = b"\x8a\x06" + (10**6).to_bytes(6, "little")
    return content.replace(b"K\x03K\x05\x86", big + big + b"\x86")


class Sneaky(dict[str, object]):
    """A dict that writes a file as soon as an unpickler fills it."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, Path):
            value.touch()
        super().__setitem__(key, value)


def npz(_: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


CASES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "pickle": (lambda t: pickle.dumps(Payload(t), 2), r"it asks for posix.mkdir"),
    "pickle, protocol 4": (lambda t: pickle.dumps(Payload(t), 4), "could run code"),
    "pickle, protocol 0": (lambda t: pickle.dumps(Payload(t), 0), "no checkpoint"),
    "in a torch zip": (lambda t: zipped({"a": Payload(t)}), r"it asks for posix.mkdir"),
    "in a legacy file": (lambda t: legacy({"a": Payload(t)}), r"it asks for posix.mkdir"),
    "whole module": (lambda t: zipped(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear"),
    "zip bomb": (bomb, "unpack to 50"),
    "storage too large": (declared_too_large, r"declares a tensor of 1,099,511,627,776"),
    "expanded": (expanded, "larger than what is stored"),
    "empty": (lambda t: b"", r"is empty \(0 bytes\)"),
    "text": (lambda t: b"my weights\n" * 50, "a text file"),
    "truncated safetensors": (truncated_safetensors, "damaged or truncated"),
    "huge header": (huge_header, "damaged or truncated"),
    "truncated zip": (lambda t: zipped(state())[:-2000], "damaged or truncated"),
    "truncated legacy": (lambda t: legacy(state())[:-2000], "damaged or truncated"),
    "keras": (lambda t: b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "Keras"),
    "tar": (tarred, "tar archive"),
    "torchscript": (torchscript, "damaged or truncated"),
    "torchscript, deflated": (deflated_torchscript, "damaged or truncated"),
    "npz": (npz, "a NumPy archive"),
    "keras, zip": (lambda t: archive("model.weights.h5"), "Keras"),
    "zip of something else": (lambda t: archive("a/b.txt"), "zip archive of something else"),
    "onnx": (lambda t: b"\x08\n\x12\x07pytorch\x1a\x052.9" + b"\0" * 99, "model.pt is damaged"),
    "web page": (lambda t: b"<!DOCTYPE html><html>" + b"x" * 600, "a web page"),
    "git lfs": (lambda t: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "tflite": (lambda t: b"\x1c\0\0\0TFL3" + b"\0" * 99, "TensorFlow Lite"),
    "one array": (lambda t: b"\x93NUMPY\x01\0" + b"\0" * 99, "one NumPy array"),
    "a larger quantised tensor": (quantised_too_large, "larger than what is stored|damaged"),
    "integers": (lambda t: zipped({"a.weight": torch.ones(3, 3, dtype=torch.int8)}),
                 "'a.weight' as int8"),
    "complex": (lambda t: zipped({**state(), "bn1.running_var": torch.ones(4) * 1j}),
                "'bn1.running_var' as complex64"),
    "integer bias": (lambda t: zipped({**state(), "linear.bias": torch.ones(10).int()}),
                     "'linear.bias' as int32"),
    "arrays of objects": (lambda t: zipped({**state(), "conv1.weight": np.array([Payload(t), 1])}),
                          r"it asks for posix.mkdir"),
    "an array of one byte": (array_too_large, "'conv1.weight', a NumPy array of other things"),
    "a method": (lambda t: zipped({**state(), "a": Payload(t).__reduce__}), "it asks for posix"),
    "a dict of another class": (lambda t: zipped(Sneaky(a=Payload(t))), r"it asks for posix.mkdir"),
    "a dict that runs": (lambda t: zipped({"net": state(), "a": Sneaky(trace=t), "b": Payload(t)}),
                         r"it asks for posix.mkdir"),
    "a list": (lambda t: zipped([torch.zeros(2)]), "a list instead of a state dict"),
    "no weights": (lambda t: zipped({"epoch": 3}), "no weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(case: str, tmp_path: Path) -> None:
    make, message = CASES[case]
    trace, path = tmp_path / "trace", tmp_path / "model.pt"
    path.write_bytes(make(trace))
    request = Request(file=str(path), dataset=DatasetSpec.model_validate({"name": "digits"}))
    with pytest.raises(ModelError, match=message) as caught:
        import_model(request, tmp_path / "library")
    assert not trace.exists()
    assert not (tmp_path / "library").exists()
    assert "\n" not in caught.value.message


class Colour(enum.Enum):
    RED = 1


class Schedule:
    """Writes a file as soon as it is made from a pickle."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __setstate__(self, state: dict[str, Path]) -> None:
        state["trace"].touch()


def company(trace: Path) -> dict[str, object]:
    """What training programs leave beside the weights."""
    table: collections.defaultdict[str, list[int]] = collections.defaultdict(list)
    table["a"].append(1)
    return {
        "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(x=1)),
        "schedule": Schedule(trace),
        "losses": np.zeros((3, 2)),
        "table": table,
        "queue": collections.deque([1, 2, 3]),
        "when": datetime.datetime(2020, 1, 1),
        "colour": Colour.RED,
        "factory": functools.partial(dict, a=1),
        "set": {1, 2},
        "frozen": frozenset({1}),
        "path": trace,
        "type": torch.int8,
        "dict": Sneaky(a=1, trace=trace),
        "method": Schedule(trace).__setstate__,
    }


@pytest.mark.parametrize("pack", [zipped, legacy])
def test_objects_beside_the_weights_are_named_and_never_made(
    pack: Callable[[object], bytes], tmp_path: Path
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "m.pth.tar"
    weights = state()
    path.write_bytes(pack({"state_dict": weights, **company(trace), "best_top1": 91.42}))
    found = from_file(path, part=None, architecture=None, density=None, shape=None)
    assert found is not None
    assert not trace.exists()
    assert found.architecture == "resnet-18-w4"
    assert all(torch.equal(found.state[key], one) for key, one in weights.items())
    (line,) = (one for one in found.dropped if "objects that are not made" in one)
    assert "argparse.Namespace" in line
    assert f"{__name__}.Schedule" in line
    assert [one.value for one in found.stated] == [91.42]


def test_the_object_would_have_been_made(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Schedule(trace), 2))
    assert trace.exists()


def test_weights_within_an_object_are_not_dug_out(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(zipped({"model": torch.nn.Linear(2, 2), "epoch": 3}))
    with pytest.raises(ModelError, match=r"a whole network.*torch.nn.modules.linear") as caught:
        import_model(Request(file=str(path)), None)
    assert "state_dict(), 'weights.pth')" in caught.value.hint
    assert "crumple import weights.pth --class net.py:Net --trust-code" in caught.value.hint


def test_the_payload_would_have_worked(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Payload(trace), 2))
    assert trace.exists()


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read(tmp_path / "none.pt")


def test_a_changed_byte_is_noticed_by_the_checksum(tmp_path: Path) -> None:
    content = bytearray(zipped(state()))
    content[len(content) // 2] ^= 1
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        read(path)


def test_what_is_allowed_are_tensors_and_numbers(tmp_path: Path) -> None:
    numbers = {"best": np.float64(91.5), "n": np.int64(3), "t": torch.tensor(2.0)}
    path = tmp_path / "m.pt"
    path.write_bytes(zipped({"state_dict": state(), **numbers}))
    assert read(path).tree["best"] == 91.5
    assert not any(name.startswith(("os.", "builtins.", "posix")) for name in safe_pickle.ALLOWED)


def test_a_library_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    images = pictures(40)
    model = lively(KuangResNet18(width=4), images)
    labelled(model, images, tmp_path / "x.npz")
    (tmp_path / "m.pt").write_bytes(zipped(model.state_dict()))
    (tmp_path / "library").write_text("in the way")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    with pytest.raises(CrumpleError, match="cannot be written"):
        import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), tmp_path / "library")


def test_safetensors_with_a_header_of_any_length(tmp_path: Path) -> None:
    """Its first byte is the length's lowest: 0x80 opens a pickle; and 0x4b50 is "PK"."""
    path = tmp_path / "m.safetensors"
    weight = torch.arange(6.0).view(2, 3)
    bare = int.from_bytes(save_safetensors({"w": weight}, {"note": ""})[:8], "little")
    seen = set()
    for wanted in [*range(bare + 8, bare + 600, 8), 0x4B50, 0x4B80]:
        content = save_safetensors({"w": weight}, {"note": "x" * (wanted - bare)})
        seen.add(content[:2])
        path.write_bytes(content)
        assert torch.equal(read(path).tree["w"], weight)
    assert b"PK" in seen
    assert {one[0] for one in seen} >= {0x80, 0x50}
    assert len(seen) > 60
