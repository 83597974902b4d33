"""Weights as files and fingerprints; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import nn

from engine.errors import ModelError

_HINT = "The file is damaged or belongs to another model: restore it or make it again."


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors of a module."""
    return _digest(module.state_dict())


def file_fingerprint(path: Path) -> str:
    """The same of the tensors in a safetensors file.

    Raises:
        ModelError: the file is missing or truncated.
    """
    return _digest(parsed(read_file(path), path.name))


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def count_parameters(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def tied_parameters(module: nn.Module) -> tuple[str, ...]:
    """The names of one parameter that stands under several; empty if each has one name."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return tuple(next((found for found in names.values() if len(found) > 1), ()))


def tensor_bytes(module: nn.Module) -> bytes:
    """All tensors of a module in the safetensors format."""
    state = {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}
    return serialise_tensors(state)


def load_tensors(module: nn.Module, path: Path) -> None:
    """Fill a module from a safetensors file, strictly: every name, type and shape must match.

    Raises:
        ModelError: the file is missing, truncated, or holds another model.
    """
    fill(module, parsed(read_file(path), path.name), path.name)


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """The same from tensors; ``name`` is that of their file, for messages."""
    expected = {key: _form(tensor) for key, tensor in module.state_dict().items()}
    found = {key: _form(tensor) for key, tensor in state.items()}
    wrong = sorted(expected.items() ^ found.items())
    if wrong:
        raise ModelError(
            f"The model file {name} does not fit the architecture at {wrong[0][0]!r}.", _HINT
        )
    load_state(module, state)


def load_state(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """``load_state_dict`` for tensors that come without the versions of the layers they are for.

    ``state_dict`` notes versions beside the tensors, and some networks ask for them (MNASNet
    refuses without); a mapping of tensors alone is taken to be of the version at hand.
    """
    versioned = OrderedDict(state)
    versioned._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(versioned, strict=True)


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def read_file(path: Path) -> bytes:
    """The content of a file of weights.

    Raises:
        ModelError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file {path.name} cannot be read: {error.strerror}.", _HINT
        ) from None


def parsed(content: bytes, name: str) -> dict[str, torch.Tensor]:
    """The tensors in the content of a safetensors file; ``name`` is for messages.

    Raises:
        ModelError: it is truncated or something else.
    """
    try:
        return parse_tensors(content)
    except (SafetensorError, ValueError, KeyError):
        raise ModelError(
            f"The model file {name} is truncated or no safetensors file.", _HINT
        ) from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the complete new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all are the new ones or, on an error, the old ones.

    Raises:
        OSError: one of them cannot be written.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in contents}
    kept = {path: path.with_name(f".{path.name}.{os.getpid()}.old.part") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            parts[path].write_bytes(content)
        _exchange(parts, kept)
    finally:
        for part in (*parts.values(), *kept.values()):
            part.unlink(missing_ok=True)


def _exchange(parts: Mapping[Path, Path], kept: Mapping[Path, Path]) -> None:
    """Move new files to their places, or the old ones back to theirs."""
    there: dict[Path, bool] = {}
    try:
        for path, part in parts.items():
            there[path] = path.exists()
            if there[path]:
                os.replace(path, kept[path])
            os.replace(part, path)
    except BaseException:
        for path, old in there.items():
            if not old:
                path.unlink(missing_ok=True)
            elif kept[path].exists():
                os.replace(kept[path], path)
        raise


def json_bytes(data: Mapping[str, Any]) -> bytes:
    """Readable JSON with a final newline."""
    return (json.dumps(data, indent=2) + "\n").encode()


def _form(tensor: torch.Tensor) -> tuple[str, tuple[int, ...]]:
    return str(tensor.dtype), tuple(tensor.shape)
