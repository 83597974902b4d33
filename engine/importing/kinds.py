"""Files that are no checkpoints: what they are, and what to do instead."""

from __future__ import annotations

from collections.abc import Collection

from engine.errors import ModelError

KINDS = (
    "A checkpoint is a .pt, .pth, .th, .t7 or .tar of torch.save, a .safetensors, a .pt2 of "
    "torch.export, or an .onnx."
)

_MAGIC = (
    (0, b"\x89HDF", "a Keras file (HDF5), whose layers torch cannot load without conversion"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (0, b"BZh", "compressed by bzip2; unpack it first"),
    (0, b"\xfd7zXZ", "compressed by xz; unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (0, b"\x93NUMPY", "one NumPy array (.npy)"),
    (0, b"GGUF", "a language model (GGUF)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself: git lfs pull"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"%PDF", "a PDF document"),
    (257, b"ustar", "a tar archive, or a checkpoint of torch before 0.2; save it again with a "
     "newer one"),
)  # fmt: skip
"""Where it stands, how it begins, what it is."""


def unknown(name: str, head: bytes) -> ModelError:
    """The error for a file that begins in an unknown way."""
    for place, magic, what in _MAGIC:
        if head[place:].startswith(magic):
            return no_checkpoint(name, what)
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return no_checkpoint(name, "a web page; what was to be downloaded is behind it")
    printable = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    return no_checkpoint(name, "a text file" if printable else "of an unknown kind")


def no_checkpoint(name: str, what: str) -> ModelError:
    """The error for a file of another kind."""
    return ModelError(f"The file {name} is no checkpoint: it is {what}.", KINDS)


def is_onnx(name: str, head: bytes) -> bool:
    """A message of protocol buffers: first its version, a small number, then who wrote it or what.

    The fields of ``ModelProto``: ir_version 1, producer_name 2, ..., graph 7, opset_import 8.
    """
    version = len(head) > 2 and head[0] == 0x08 and 1 <= head[1] <= 30
    return version and (name.endswith(".onnx") or head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42))


def refuse_archive(name: str, entries: Collection[str]) -> None:
    """Name zip archives that hold no checkpoint, by their entries.

    Raises:
        ModelError: it is one of those.
    """
    if entries and all(one.endswith(".npy") for one in entries):
        raise no_checkpoint(name, "a NumPy archive (.npz)")
    if "model.weights.h5" in entries:
        raise no_checkpoint(name, "a Keras file, whose layers torch cannot load without conversion")
