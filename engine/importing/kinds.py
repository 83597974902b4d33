"""Files that are no checkpoints: what they are, and what to do instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path

from engine.errors import ModelError

KINDS = (
    "A checkpoint is a .pt, .pth, .th, .t7 or .tar of torch.save, a .safetensors, a .pt2 of "
    "torch.export, an .onnx, TorchScript, or a folder of Hugging Face or timm."
)

_TF2ONNX = (
    "Convert it where you trust it: pip install tensorflow tf2onnx, then python -m tf2onnx.convert "
    "{flag} {file} --output net.onnx, and import net.onnx."
)
_NEW_KERAS = (
    "Convert it where you trust it: pip install keras tensorflow tf2onnx, then in Python "
    "keras.saving.load_model({name!r}).export('net.onnx', format='onnx'), and import net.onnx."
)
_ARRAYS = (
    "With the names and the order of dimensions of a network of torch (Flax and Keras keep "
    "convolutions as height x width x in x out, torch as out x in x height x width), save them by "
    "torch.save({{name: torch.from_numpy(array) for ...}}, 'weights.pth'), and import that."
)
_FLAX = "Restore them by flax.serialization.msgpack_restore. " + _ARRAYS
_SOURCE = "Import the network that it was made from, or export that as .onnx."

_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF", "HDF5, as Keras writes (.h5), whose layers torch cannot load without "
     "conversion", _TF2ONNX.replace("{flag}", "--keras")),
    (0, b"MATLAB ", "a MATLAB file (.mat)", "Export the network there, by "
     "exportONNXNetwork(net, 'net.onnx'), and import net.onnx."),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first", KINDS),
    (0, b"BZh", "compressed by bzip2; unpack it first", KINDS),
    (0, b"\xfd7zXZ", "compressed by xz; unpack it first", KINDS),
    (0, b"7z\xbc\xaf", "a 7z archive; unpack it first", KINDS),
    (0, b"Rar!", "a RAR archive; unpack it first", KINDS),
    (0, b"\x93NUMPY", "one NumPy array (.npy)", KINDS),
    (0, b"GGUF", "a language model (GGUF)", KINDS),
    (4, b"TFL3", "a TensorFlow Lite model", _TF2ONNX.replace("{flag}", "--tflite")),
    (0, b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself: git lfs pull",
     KINDS),
    (0, b"\x89PNG", "a picture", KINDS),
    (0, b"\xff\xd8\xff", "a picture", KINDS),
    (0, b"%PDF", "a PDF document", KINDS),
    (257, b"ustar", "a tar archive, or a checkpoint of torch before 0.2; save it again with a "
     "newer one", KINDS),
)  # fmt: skip
"""Where it stands, how it begins, what it is, and what to do with it."""

_BUFFERS: tuple[tuple[str, str, str], ...] = (
    (r"\x08\x01\x12[\x80-\xff]*[\0-\x7f]\x0a.*\x22\x05serve", "a TensorFlow SavedModel",
     _TF2ONNX.replace("{flag} {file}", "--saved-model FOLDER (that it lies in)")),
    (r"\x08[\x01-\x1e]\x12[\x80-\xff]*[\0-\x7f]\x0a", "a Core ML model (.mlmodel)", _SOURCE),
    (r"\x0a[\x80-\xff]*[\0-\x7f]\x0a.[\x20-\x7e]+\x12.[A-Z][A-Za-z0-9]+", "a graph of TensorFlow "
     "(.pb)", _TF2ONNX.replace("{flag} {file}", "--graphdef {file} --inputs NAME:0 --outputs "
                               "NAME:0")),
    (r"\x0a.[\x20-\x7e]+(?:\xa2\x06|\x12)", "a Caffe model", _SOURCE),
    (r"[\x81-\x8f][\xa1-\xbf][\x20-\x7e]+[\x80-\xdf]", "MessagePack, as Flax and JAX write "
     "(.msgpack)", _FLAX),
)  # fmt: skip
"""Patterns of what has no magic number: what it is, and what to do with it.

Messages of protocol buffers begin with the number of a field and what it holds: SavedModel with its
version and a message, Core ML likewise, GraphDef with a node of a name and a kind, Caffe with a
name and layers. MessagePack begins with a map and the name in it.
"""


def unknown(name: str, head: bytes) -> ModelError:
    """The error for a file that begins in an unknown way."""
    for place, magic, what, way in _MAGIC:
        if head[place:].startswith(magic):
            return no_checkpoint(name, what, way)
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return no_checkpoint(name, "a web page; what was to be downloaded is behind it")
    for pattern, what, way in _BUFFERS:
        if re.match(pattern.encode("latin-1"), head, re.DOTALL):
            return no_checkpoint(name, what, way)
    printable = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return no_checkpoint(name, "a text file" if printable else "of an unknown kind")


def no_checkpoint(name: str, what: str, way: str = KINDS) -> ModelError:
    """The error for a file of another kind.

    Args:
        name: of the file.
        what: it is, for a sentence.
        way: what to do; ``{file}`` in it becomes the name for a shell, ``{name}`` the plain one.
    """
    hint = way if way is KINDS else way.format(file=shlex.quote(name), name=name)
    return ModelError(f"The file {name} is no checkpoint: it is {what}.", hint)


def is_onnx(name: str, head: bytes) -> bool:
    """A message of protocol buffers: first its version, a small number, then who wrote it or what.

    The fields of ``ModelProto``: ir_version 1, producer_name 2, ..., graph 7, opset_import 8. Other
    messages have a message at 2, which begins with a field of its own.
    """
    if len(head) < 5 or head[0] != 0x08 or not 1 <= head[1] <= 30:
        return False
    named = head[2] == 0x12 and head[4] >= 0x20
    return named or head[2] in (0x1A, 0x22, 0x3A, 0x42) or name.endswith(".onnx")


def refuse_archive(name: str, entries: Collection[str]) -> None:
    """Name zip archives that hold no checkpoint, by their entries.

    Raises:
        ModelError: it is one of those.
    """
    if entries and all(one.endswith(".npy") for one in entries):
        raise no_checkpoint(name, "a NumPy archive (.npz)", _ARRAYS)
    if "model.weights.h5" in entries:
        what = "a Keras file (.keras), whose layers torch cannot load without conversion"
        raise no_checkpoint(name, what, _NEW_KERAS)


def refuse_folder(folder: Path) -> ModelError:
    """The error for a folder that holds no model which is read."""
    if (folder / "saved_model.pb").exists():
        way = _TF2ONNX.format(flag="--saved-model", file=shlex.quote(str(folder)))
        return ModelError(f"The folder {folder.name} is a TensorFlow SavedModel.", way)
    return ModelError(f"{folder} is a folder, not a checkpoint.", KINDS)
