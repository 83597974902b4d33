"""Pickles of torch, read without running anything.

Each is first walked opcode by opcode, so that nothing is allocated that the file cannot fill, and
a file that asks for what only an attack needs is refused by its name. Then torch loads it with
``weights_only``, which is the wall itself. Objects of other programs become ``StandIn``s, which
know their names and do nothing.
"""

from __future__ import annotations

import io
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from engine.errors import ModelError
from engine.models.files.safe_zip import damaged
from engine.models.way_out import by_source
from engine.safe_files.pickle_walk import BadPickle, walk

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

_DANGEROUS = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "builtins", "__builtin__"),
    *("importlib", "runpy", "pty", "socket", "ctypes", "webbrowser", "multiprocessing"),
}
"""Modules that no checkpoint needs, but attacks do; all names in them are refused ..."""
_HARMLESS = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("set", "frozenset", "complex", "bytearray", "slice", "range", "object",
                 "dict", "list", "tuple", "int", "float", "str", "bytes", "bool", "type")
}  # fmt: skip
"""... but these, which optimisers and settings hold; they are stand-ins too."""
_QUANTISED = {"torch._utils._rebuild_qtensor", "torch.QInt8Storage", "torch.QUInt8Storage",
              "torch.QInt32Storage"}  # fmt: skip

_SCRIPTED = "__torch__."
"""How TorchScript calls its modules."""

_OTHER_CALLS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX")
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG")

_SAVE_AGAIN = (
    "Only tensors and plain numbers are read. Where you trust the file, save its state dict again "
    "by torch.save, or export the network by torch.export."
)
_FLOAT = (
    "Crumple quantises models itself: import the state dict of the network before it was "
    "quantised, or save {key: one.dequantize() if one.is_quantized else one for ...}."
)


class StandIn:
    """What stands in a loaded file for an object of another program; it holds nothing.

    Attributes:
        origin: the name of the class or function that the file asks for.
    """

    origin = ""
    dump_patches = False  # torch asks classes of whole networks in old files

    def __new__(cls, *_: object, **__: object) -> StandIn:
        """Whatever the file gives is dropped."""
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        """Likewise."""


class Part(StandIn):
    """What stands for a module of TorchScript: its attributes by their names, and nothing else.

    Attributes:
        state: what the file gives it; a dictionary, or a tuple of a quantised layer.
    """

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        """Kept as it is."""
        self.state = state


def scan(stream: IO[bytes], name: str, file_bytes: int) -> list[str]:
    """Walk one pickle to its end.

    Args:
        stream: stands behind the pickle afterwards.
        name: of the file, for messages.
        file_bytes: no storage may claim more elements than these.

    Returns:
        The names of what it asks for beside tensors and numbers, in their order; for ``load``.

    Raises:
        ModelError: it asks for what only an attack needs, holds quantised tensors, or is damaged.
    """
    last = 0
    foreign: dict[str, None] = {}
    begun = stream.tell()
    try:
        for opcode, argument in walk(stream, file_bytes):
            if opcode == "GLOBAL":
                foreign |= dict.fromkeys(_foreign(str(argument).replace(" ", "."), name))
            elif opcode in _OTHER_CALLS:
                raise _refused(name, "objects in a form that torch.save does not write")
            elif opcode in _INTEGERS and isinstance(argument, int):
                last = argument
            elif opcode == "BINPERSID" and not 0 <= last <= file_bytes:
                raise damaged(name, f"it declares a tensor of {last:,} elements")
            if stream.tell() - begun > MOST_PICKLE_BYTES:
                raise ModelError(
                    f"The file {name} is refused: its pickle is larger than "
                    f"{MOST_PICKLE_BYTES // 2**20} MB.",
                    _SAVE_AGAIN,
                )
    except ModelError:
        raise
    except BadPickle as error:
        raise damaged(name, str(error)) from None
    except Exception as error:  # noqa: BLE001  any bytes may stand here
        raise damaged(name, f"no pickle ({type(error).__name__})") from None
    return list(foreign)


def _foreign(found: str, name: str) -> list[str]:
    """The name, unless it is of tensors and numbers."""
    if found in ALLOWED:
        return []
    if found in _HARMLESS:
        return [found]
    if found in _QUANTISED:
        raise ModelError(f"The file {name} holds quantised tensors (int8), not weights in fp32.",
                         _FLOAT)  # fmt: skip
    if found.partition(".")[0] in _DANGEROUS:
        raise _refused(name, found)
    return [found]


def _refused(name: str, what: str) -> ModelError:
    return ModelError(f"The file {name} is refused: it asks for {what}, which could run code.",
                      _SAVE_AGAIN)  # fmt: skip


def load(file: Path | bytes, name: str, foreign: Collection[str] = ()) -> Any:
    """Load a checkpoint that ``scan`` has passed.

    Args:
        file: the path, or the bytes.
        name: of the file, for messages.
        foreign: the names that ``scan`` has found.

    Returns:
        What was saved: tensors on the CPU in containers of plain Python, and ``StandIn``s.

    Raises:
        ModelError: torch refuses it, or it is damaged.
    """
    source: Any = io.BytesIO(file) if isinstance(file, bytes) else file
    stands = [(_stand_in(one), one) for one in foreign]
    known = [*_numpy_globals(), *stands, *((one, _modern(origin)) for one, origin in stands)]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  torch raises whatever a damaged file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if foreign:
            raise whole_network(name, next(iter(foreign))) from None
        raise damaged(name, reason.rstrip(". ")[:160]) from None


def whole_network(name: str, what: str) -> ModelError:
    """The error for a file whose weights lie within objects of a program."""
    return ModelError(
        f"The file {name} holds a whole network, or other objects of the program that saved it "
        f"({what}), instead of a state dict; making them could run code.",
        f"Where you trust the file, save the weights alone: torch.save(torch.load({name!r}, "
        "weights_only=False).state_dict(), 'weights.pth'). " + by_source("weights.pth"),
    )


def _modern(origin: str) -> str:
    """What torch calls a name of Python 2, which pickles of this form have."""
    module, _, name = origin.rpartition(".")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _mapping(*_: object) -> OrderedDict[Any, Any]:
    return OrderedDict()


def _listing(*_: object) -> list[Any]:
    return []


_CONTAINERS: dict[str, Any] = {"collections.defaultdict": _mapping, "collections.deque": _listing}
"""What torch fills after it was made, so that a stand-in would not do."""


def _stand_in(origin: str) -> Any:
    """A class of its own for each name, as torch tells them apart by identity."""
    if origin in _CONTAINERS:
        return _CONTAINERS[origin]
    if origin.startswith(_SCRIPTED):
        return type("Part", (Part,), {"origin": origin})
    return type("StandIn", (StandIn,), {"origin": origin})


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
