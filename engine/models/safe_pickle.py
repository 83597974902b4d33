"""Pickles of torch, read without running anything.

Each is first walked opcode by opcode, so that a file that needs more than tensors and numbers is
refused by the name of what it asks for, and nothing is allocated that the file cannot fill. Then
torch loads it with ``weights_only``, which is the wall itself.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from engine.errors import ModelError
from engine.models.safe_zip import damaged

MOST_PICKLE_BYTES = 16 * 2**20
"""The pickle of a checkpoint holds names and shapes; the largest known are below 1 MB."""

_STORAGES = {f"torch.{name}Storage" for name in (
    *("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"),
    "Untyped",
)}  # fmt: skip
_NUMPY = {
    "numpy.dtype",
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Int64", "Int32", "Bool")),
}
ALLOWED = {
    "collections.OrderedDict",
    "collections.Counter",  # the milestones of a MultiStepLR
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.storage.UntypedStorage",
    "_codecs.encode",
    *(f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int64", "uint8")),
    *_STORAGES,
    *_NUMPY,
}
"""Everything a state dict, its numbers, an optimiser's and a scheduler's state are made of."""

_OTHER_CALLS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX")
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG")

_SAVE_AGAIN = (
    "Only tensors and plain numbers are read. Where you trust the file, save its state dict again "
    "by torch.save, or export the network by torch.export."
)


def scan(stream: IO[bytes], name: str, file_bytes: int) -> None:
    """Walk one pickle to its end.

    Args:
        stream: stands behind the pickle afterwards.
        name: of the file, for messages.
        file_bytes: no storage may claim more elements than these.

    Raises:
        ModelError: it would call something that is not allowed, or is damaged.
    """
    last = 0
    begun = stream.tell()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                _check_global(str(argument).replace(" ", "."), name)
            elif opcode.name in _OTHER_CALLS:
                raise _refused(name, "objects in a form that torch.save does not write")
            elif opcode.name in _INTEGERS and isinstance(argument, int):
                last = argument
            elif opcode.name == "BINPERSID" and not 0 <= last <= file_bytes:
                raise damaged(name, f"it declares a tensor of {last:,} elements")
            if stream.tell() - begun > MOST_PICKLE_BYTES:
                raise ModelError(
                    f"The file {name} is refused: its pickle is larger than "
                    f"{MOST_PICKLE_BYTES // 2**20} MB.",
                    _SAVE_AGAIN,
                )
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  any bytes may stand here
        raise damaged(name, f"no pickle ({type(error).__name__})") from None


def _check_global(found: str, name: str) -> None:
    if found not in ALLOWED:
        raise _refused(name, found)


def _refused(name: str, what: str) -> ModelError:
    return ModelError(f"The file {name} is refused: it asks for {what}, which could run code.",
                      _SAVE_AGAIN)  # fmt: skip


def load(file: Path | bytes, name: str) -> Any:
    """Load a checkpoint that ``scan`` has passed.

    Returns:
        What was saved: tensors on the CPU in containers of plain Python.

    Raises:
        ModelError: torch refuses it, or it is damaged.
    """
    source: Any = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with torch.serialization.safe_globals(_numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  torch raises whatever a damaged file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(name, reason.rstrip(". ")[:160]) from None


def _numpy_globals() -> list[Any]:
    """Of numbers such as ``best_prec1``, under the names of NumPy 1 and 2."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *(type(np.dtype(kind)) for kind in kinds),
    ]
