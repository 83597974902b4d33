"""Folders of Hugging Face and timm: ``config.json``, and weights beside it.

Nothing is downloaded, and code that a folder brings (``trust_remote_code``) is never looked at: the
configuration only names an architecture that torchvision or timm build themselves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import ModelError
from engine.importing import transformers_names
from engine.importing.kinds import refuse_folder
from engine.importing.report import Scaling

State = dict[str, torch.Tensor]

_CONFIG, _IMAGES = "config.json", "preprocessor_config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MOST_BYTES = 2**20
"""Of a file of JSON; lists of a thousand classes take 100 kB, indices of shards less."""
_PER_BYTE = 1 / 255


@dataclass(frozen=True)
class Hub:
    """What a folder says of its weights.

    Attributes:
        tree: the weights, under names that are known here.
        format: in words.
        architecture: that the configuration names; None to find out.
        scaling: of the images; None if they are taken as they are.
        settled: whether the folder says which.
        ignored: names of objects beside the weights that were not made.
        notes: what else was seen.
    """

    tree: Any
    format: str
    architecture: str | None
    scaling: Scaling | None
    settled: bool
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_hub(path: Path) -> bool:
    """Whether a path is a folder with a configuration."""
    return (path / _CONFIG).is_file()


def read_hub(folder: Path, read: Callable[[Path], Any]) -> Hub:
    """Read the weights of a folder, and what its configuration says.

    Args:
        folder: with a ``config.json``.
        read: a checkpoint; what it gives has a ``tree``, a ``format`` and ``ignored``.

    Raises:
        ModelError: the configuration is damaged, there are no weights, or they are refused.
    """
    config = _json(folder / _CONFIG)
    contents = [read(one) for one in weight_files(folder)]
    tree = contents[0].tree
    if len(contents) > 1:
        tree = {key: one for content in contents for key, one in content.tree.items()}
    ignored = tuple(dict.fromkeys(one for content in contents for one in content.ignored))
    container = contents[0].format
    if isinstance(name := config.get("architecture"), str):
        scaling, settled = _timm_scaling(config)
        said = f"folder of timm ({container})"
        return Hub(tree, said, f"timm.{name}", scaling, settled, ignored)
    tree, notes = transformers_names.renamed(tree, config, folder.name)
    scaling, settled = _image_scaling(folder)
    said = f"folder of Hugging Face ({container})"
    return Hub(tree, said, None, scaling, settled, ignored, notes)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: one, or the shards that an index names.

    Raises:
        ModelError: there is none, or the index names files elsewhere.
    """
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    if (folder / "saved_model.pb").exists():
        raise refuse_folder(folder)
    there = sorted(one.name for one in folder.iterdir() if one.is_file())[:8]
    raise ModelError(
        f"The folder {folder.name} has a {_CONFIG}, but no weights: {' or '.join(_WEIGHTS)}.",
        f"It holds {', '.join(there)}. Download the weights, or save them with "
        "net.save_pretrained(FOLDER).",
    )


def _shards(index: Path) -> list[Path]:
    """In the folder of the index and nowhere else."""
    names = _json(index).get("weight_map")
    found = sorted(set(names.values())) if isinstance(names, dict) else []
    if not found or not all(isinstance(one, str) for one in found):
        raise ModelError(f"The index {index.name} names no files of weights.")
    for one in found:
        if Path(one).name != one or one in ("", ".", ".."):
            raise ModelError(
                f"The index {index.name} is refused: it names {one[:80]!r}, which lies outside of "
                "the folder."
            )
        if not (index.parent / one).is_file():
            raise ModelError(
                f"The folder {index.parent.name} lacks {one[:80]!r}, which {index.name} names.",
                "Download it as well.",
            )
    return [index.parent / one for one in found]


def fingerprint(folder: Path) -> str:
    """SHA-256 over the weights and the configuration."""
    digest = hashlib.sha256()
    for path in [folder / _CONFIG, *weight_files(folder)]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path.name} is larger than {_MOST_BYTES // 2**20} MB.")
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(
            f"{path.name} in the folder {path.parent.name} is no JSON object.",
            "Download it again.",
        )
    return found


def _timm_scaling(config: Mapping[str, Any]) -> tuple[Scaling | None, bool]:
    """Mean and std, which older folders have at the top."""
    inner = config.get("pretrained_cfg")
    found = {**config, **(inner if isinstance(inner, dict) else {})}
    return _scaling(found.get("mean"), found.get("std"), 1.0)


def _image_scaling(folder: Path) -> tuple[Scaling | None, bool]:
    """What the processor of images does after it made them numbers."""
    if not (folder / _IMAGES).is_file():
        return None, False
    found = _json(folder / _IMAGES)
    factor = 1.0
    if found.get("do_rescale", True) is False:
        factor = _PER_BYTE  # its constants are those of bytes
    elif abs(float(found.get("rescale_factor", _PER_BYTE)) - _PER_BYTE) > 1e-6:
        return None, False
    if found.get("do_normalize", True) is False:
        return None, factor == 1.0
    return _scaling(found.get("image_mean"), found.get("image_std"), factor)


def _scaling(mean: Any, std: Any, factor: float) -> tuple[Scaling | None, bool]:
    if not all(_numbers(one) for one in (mean, std)) or len(mean) != len(std):
        return None, False
    if not all(0 < one < 1e3 for one in std):
        return None, False
    centre, width = (tuple(factor * float(one) for one in part) for part in (mean, std))
    return Scaling(label=f"of {_CONFIG}", mean=centre, std=width), True


def _numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 4
        and all(isinstance(one, int | float) and abs(one) < 1e6 for one in value)
    )
