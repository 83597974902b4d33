"""The weights of a TorchScript archive, read while its code stays text.

``torch.jit.save`` writes the modules of a network as a pickle of objects with named attributes, and
their code beside it. Of the pickle every object becomes a stand-in that keeps its attributes; the
code is not even unpacked.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from engine.errors import ModelError
from engine.models.files import safe_pickle
from engine.models.files.safe_pickle import Part
from engine.models.files.safe_zip import damaged, open_zip, read_entry
from engine.safe_files.pickle_walk import DEEPEST
from engine.safe_files.way_out import by_source

FORMAT = "TorchScript, its weights read and its code not run"
_READ = re.compile(r"[^/]+/(data\.pkl|data/\d+|byteorder)", re.ASCII)
_MOST_PLACES = 100_000
_PACKED = "_packed_params"
"""Under which quantised linear layers of torch keep their weights."""

State = dict[str, torch.Tensor]


def is_torchscript(entries: Collection[str]) -> bool:
    """Whether an archive with these entries is one of ``torch.jit.save``."""
    inner = {one.partition("/")[2] for one in entries}
    return "constants.pkl" in inner or any(one.startswith("code/") for one in inner)


def read_weights(path: Path) -> State:
    """The tensors of a network under the names of its modules; nothing of it is run.

    Raises:
        ModelError: it is damaged or asks for what only an attack needs, or its weights are
            constants of its code.
    """
    content = _without_code(path)
    with open_zip(io.BytesIO(content), path.name) as archive:
        pickled = read_entry(archive, "archive/data.pkl", path.name)
    found = safe_pickle.scan(io.BytesIO(pickled), path.name, len(content))
    try:
        tree = safe_pickle.load(content, path.name, found)
    except ModelError:
        raise damaged(path.name, "its modules cannot be read") from None
    state = named_tensors(tree, path.name)
    if not any(one.dim() >= 2 for one in state.values()):
        raise ModelError(
            f"The TorchScript file {path.name} holds no weights under names: they are constants of "
            "its code, which is not run (torch.jit.freeze and optimize_for_inference do that).",
            "Save it before it is frozen, or the state dict. " + by_source("weights.pth"),
        )
    return state


def named_tensors(tree: Any, file: str) -> State:
    """All tensors of a tree of modules, under dotted names.

    Raises:
        ModelError: its modules stand in more places than anyone's do.
    """
    state: State = {}
    for places, (names, tensor) in enumerate(_places(tree, (), 0)):
        if places > _MOST_PLACES:
            raise ModelError(
                f"The TorchScript file {file} is refused: its modules stand in more than "
                f"{_MOST_PLACES:,} places."
            )
        if tensor is not None:
            state[".".join(names)] = tensor
    return state


def _without_code(path: Path) -> bytes:
    """An archive of torch.save with the tensors and the tree of modules alone."""
    buffer = io.BytesIO()
    with (
        open_zip(path, path.name, _READ.fullmatch) as archive,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target,
    ):
        wanted = [one for one in archive.namelist() if _READ.fullmatch(one)]
        for entry in wanted:
            inner = entry.partition("/")[2]
            target.writestr(f"archive/{inner}", read_entry(archive, entry, path.name))
        target.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _places(
    value: Any, names: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], torch.Tensor | None]]:
    """Every place below a module, and the tensor there; parts may stand in any number of them."""
    yield names, value if isinstance(value, torch.Tensor) else None
    if isinstance(value, Part) and depth < DEEPEST:
        inside = _packed(value.state) if isinstance(value.state, tuple) else value.state
        for key, one in inside.items() if isinstance(inside, dict) else ():
            yield from _places(one, names if key == _PACKED else (*names, str(key)), depth + 1)


def _packed(state: tuple[Any, ...]) -> State:
    """Weight and bias of a quantised layer, which keeps them in a tuple, one behind the other."""
    for place, one in enumerate(state):
        if isinstance(one, torch.Tensor) and one.is_quantized:
            bias = state[place + 1] if place + 1 < len(state) else None
            return {"weight": one, **({"bias": bias} if isinstance(bias, torch.Tensor) else {})}
    return {}
