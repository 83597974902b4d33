"""From a file to what was saved in it, by its content and not by its ending."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from engine.errors import ModelError
from engine.importing import torchscript
from engine.importing.hub_folder import Hub, fingerprint, is_hub, read_hub
from engine.importing.kinds import (
    KINDS,
    is_onnx,
    no_checkpoint,
    refuse_archive,
    refuse_folder,
    unknown,
)
from engine.models.files import safe_pickle
from engine.models.files.safe_zip import check_sums, damaged, entry_names, open_zip, read_entry

State = dict[str, torch.Tensor]

_LEGACY_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_PICKLES = 5
_DEEPEST = 4
PROGRAM = "exported program (.pt2)"
ONNX = "ONNX"
SAFETENSORS = "safetensors"
ZIPPED, LEGACY = "torch.save (zip)", "torch.save (before torch 1.6)"


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        format: the container, in words.
        tree: tensors in containers of plain Python; None for an exported program and ONNX.
        ignored: names of objects in it that were not made.
        hub: what a folder says of its weights.
    """

    format: str
    tree: Any
    ignored: tuple[str, ...] = ()
    hub: Hub | None = None


def read(path: Path) -> Content:
    """Read a checkpoint; an exported program and ONNX are recognised, but read elsewhere.

    Raises:
        ModelError: it is missing, damaged, of another kind, or would run code. Nothing that the
            file does not hold is allocated, and nothing in it is executed.
    """
    if is_hub(path):
        hub = read_hub(path, read)
        return Content(hub.format, hub.tree, hub.ignored, hub)
    head, size = _head(path)
    if _has_header(head, size):
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_zip(path, size)
    if head.startswith(b"\x80"):
        return _read_legacy(path, size, head)
    if len(head) > 8 and (head[8:9] == b"{" or path.suffix == ".safetensors"):  # damaged
        return _read_safetensors(path)
    if is_onnx(path.name, head):
        return Content(ONNX, None)
    raise unknown(path.name, head)


def _has_header(head: bytes, size: int) -> bool:
    """Whether it begins as safetensors does: the length of a JSON object, and that object.

    Asked first, because the length may begin as a pickle or a zip archive does.
    """
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8


def _head(path: Path) -> tuple[bytes, int]:
    if path.is_dir():
        raise refuse_folder(path)
    try:
        with path.open("rb") as file:
            head, size = file.read(512), os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"The file {path} cannot be read: {reason}.", KINDS) from None
    if not head:
        raise ModelError(f"The file {path.name} is empty (0 bytes).", "Copy or download it again.")
    return head, size


def _read_zip(path: Path, size: int) -> Content:
    entries = entry_names(path, path.name)
    refuse_archive(path.name, entries)
    if torchscript.is_torchscript(entries):
        return Content(torchscript.FORMAT, _checked(torchscript.read_weights(path), path))
    names = [entry.partition("/")[2] for entry in entries]
    with open_zip(path, path.name) as archive:
        if "archive_format" in names or any(name.startswith("models/") for name in names):
            return Content(PROGRAM, None)
        pickles = [entry for entry in archive.namelist() if entry.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise no_checkpoint(path.name, "a zip archive of something else")
        pickled = read_entry(archive, pickles[0], path.name)
        check_sums(archive, path.name)
    foreign = safe_pickle.scan(io.BytesIO(pickled), path.name, size)
    return Content(ZIPPED, _loaded(path, foreign), tuple(foreign))


def _read_legacy(path: Path, size: int, head: bytes) -> Content:
    with path.open("rb") as file:
        count = _LEGACY_PICKLES if _LEGACY_MAGIC in head[:20] else 1
        asked = [safe_pickle.scan(file, path.name, size) for _ in range(count)]
    if count == 1:
        raise no_checkpoint(path.name, "a pickle, but not one of torch.save")
    foreign = {one: form for each in asked for one, form in each.items()}
    tree = _loaded(path, foreign)
    return Content(LEGACY, tree, tuple(foreign))


def _read_safetensors(path: Path) -> Content:
    state: State = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                state[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")[:160]
        raise damaged(path.name, reason) from None
    return Content(SAFETENSORS, state)


def _loaded(path: Path, foreign: Mapping[str, str]) -> Any:
    return _checked(safe_pickle.load(path, path.name, foreign), path)


def _checked(tree: Any, path: Path) -> Any:
    """The same, if its tensors are dense and lie in the file."""
    file, size = path.name, path.stat().st_size
    for name, tensor in tensors_in(tree):
        if tensor.is_meta:
            raise ModelError(
                f"The tensor {name!r} of {file} has a shape but no numbers (meta).",
                "Fill the network with its weights before saving its state dict.",
            )
        if tensor.layout != torch.strided:
            raise ModelError(
                f"The tensor {name!r} of {file} is sparse.",
                "Save it dense: {key: one.to_dense() for key, one in net.state_dict().items()}.",
            )
        held = min(tensor.untyped_storage().nbytes(), size)
        if tensor.numel() * tensor.element_size() > held:
            raise damaged(file, f"the tensor {name!r} is larger than what is stored of it")
    return tree


def tensors_in(tree: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested containers, with the path of their keys."""
    if isinstance(tree, torch.Tensor):
        yield prefix, tree
    elif isinstance(tree, Mapping | list | tuple) and depth < _DEEPEST:
        inside = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in inside:
            yield from tensors_in(value, f"{prefix}.{key}" if prefix else str(key), depth + 1)


def sha256(path: Path) -> str:
    """Of the bytes of a file, or of those of the files that a folder of weights is made of."""
    if path.is_dir():
        return fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
