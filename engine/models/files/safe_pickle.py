"""Pickles of torch, read without running anything.

Each is first walked opcode by opcode, so that nothing is allocated that the file cannot fill, and
a file that asks for what only an attack needs is refused by its name. Then torch loads it with
``weights_only``, which is the wall itself. Objects of other programs become ``StandIn``s, which
know their names and do nothing; mappings and lists of theirs become plain ones, and arrays of NumPy
``Array``s, which hold the bytes.
"""

from __future__ import annotations

import io
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from engine.errors import ModelError
from engine.models.files.safe_zip import damaged
from engine.safe_files import arrays
from engine.safe_files.pickle_walk import BadPickle, walk
from engine.safe_files.way_out import by_source

Foreign = dict[str, str]
"""What a pickle asks for beside tensors and numbers: by its name, whether its objects are filled
as a ``mapping``, as a ``listing`` or not at all ("")."""

MOST_PICKLE_BYTES = 16 * 2**20
"""The pickle of a checkpoint holds names and shapes; the largest known are below 1 MB."""

_STORAGES = {f"torch.{name}Storage" for name in (
    *("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"),
    "Untyped", "QInt8", "QUInt8", "QInt32",
)}  # fmt: skip
_QUANTISED = {
    "torch._utils._rebuild_qtensor",
    *(f"torch.{kind}" for kind in ("qint8", "quint8", "qint32")),
    *(f"torch.per_{whole}_{form}" for whole in ("tensor", "channel")
      for form in ("affine", "symmetric")),
    "torch.per_channel_affine_float_qparams",
}  # fmt: skip
_NUMPY = {f"{module}.{name}": stand for (module, name), stand in arrays.STAND_INS.items()}
ALLOWED = {
    "collections.OrderedDict",
    "collections.Counter",  # the milestones of a MultiStepLR
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",  # types that have no storage of their own
    "torch._tensor._rebuild_from_type_v2",  # tensors with attributes
    "torch.Tensor",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.storage.UntypedStorage",
    "_codecs.encode",
    *(f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64", "bool")),
    *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *(f"torch.float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")),
    *_STORAGES,
    *_QUANTISED,
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
                 "dict", "list", "tuple", "int", "float", "str", "bytes", "bool", "type",
                 "getattr")  # a bound method, as OneCycleLR kept one
}  # fmt: skip
"""... but these, which optimisers and settings hold; they are stand-ins too."""
_TOLD = {
    **dict.fromkeys(("DTensor", "ShardedTensor"), (
        "tensors that are spread over several processes",
        "Gather them before saving: torch.distributed.checkpoint.state_dict.get_model_state_dict("
        "net, options=StateDictOptions(full_state_dict=True, cpu_offload=True)).",
    )),
    "AffineQuantizedTensor": (
        "weights that torchao has quantised",
        "Save the weights as they were before, or one.dequantize() for each.",
    ),
}  # fmt: skip
"""Tensors of other kinds, by the names of their classes: what they are, and what to do."""

_SCRIPTED = "__torch__."
"""How TorchScript calls its modules."""

_OTHER_CALLS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX")
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG")

_SAVE_AGAIN = (
    "Only tensors and plain numbers are read. Where you trust the file, save its state dict again "
    "by torch.save, or export the network by torch.export."
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


def scan(stream: IO[bytes], name: str, file_bytes: int) -> Foreign:
    """Walk one pickle to its end.

    Args:
        stream: stands behind the pickle afterwards.
        name: of the file, for messages.
        file_bytes: no storage may claim more elements than these.

    Returns:
        The names of what it asks for beside tensors and numbers, in their order; for ``load``.

    Raises:
        ModelError: it asks for what only an attack needs, or is damaged.
    """
    foreign: Foreign = {}
    filled: dict[str, str] = {}
    try:
        for found in _globals(stream, name, file_bytes, filled):
            if _is_foreign(found, name):
                foreign[found] = ""
    except ModelError:
        raise
    except BadPickle as error:
        raise damaged(name, str(error)) from None
    except Exception as error:  # noqa: BLE001  any bytes may stand here
        raise damaged(name, f"no pickle ({type(error).__name__})") from None
    forms = {one.replace(" ", "."): form for one, form in filled.items()}
    return {one: forms.get(one, "") for one in foreign}


def _globals(
    stream: IO[bytes], name: str, file_bytes: int, filled: dict[str, str]
) -> Iterator[str]:
    """The names that a pickle asks for, while it is looked over."""
    last = 0
    begun = stream.tell()
    for opcode, argument in walk(stream, file_bytes, filled):
        if opcode == "GLOBAL":
            yield str(argument).replace(" ", ".")
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


def _is_foreign(found: str, name: str) -> bool:
    """Whether a name is of something else than tensors and numbers."""
    if found not in _HARMLESS and found.partition(".")[0] in _DANGEROUS:
        raise _refused(name, found)
    return found not in ALLOWED


def _refused(name: str, what: str) -> ModelError:
    return ModelError(f"The file {name} is refused: it asks for {what}, which could run code.",
                      _SAVE_AGAIN)  # fmt: skip


def load(file: Path | bytes, name: str, foreign: Mapping[str, str] | None = None) -> Any:
    """Load a checkpoint that ``scan`` has passed.

    Args:
        file: the path, or the bytes.
        name: of the file, for messages.
        foreign: what ``scan`` has found.

    Returns:
        What was saved: tensors on the CPU in containers of plain Python, ``Array``s, and
        ``StandIn``s.

    Raises:
        ModelError: torch refuses it, or it is damaged.
    """
    source: Any = io.BytesIO(file) if isinstance(file, bytes) else file
    stands = [(_stand_in(one, form), one) for one, form in (foreign or {}).items()]
    modern = [(one, _modern(origin)) for one, origin in stands]
    known: list[Any] = [*((stand, one) for one, stand in _NUMPY.items()), *stands, *modern]
    try:
        with torch.serialization.safe_globals(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  torch raises whatever a damaged file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        for what, way in (told for one in foreign or () if (told := _told(one))):
            raise ModelError(f"The file {name} holds {what}.", way) from None
        if foreign:
            raise whole_network(name, next(iter(foreign))) from None
        raise damaged(name, reason.rstrip(". ")[:160]) from None


def _told(origin: str) -> tuple[str, str] | None:
    return _TOLD.get(origin.rpartition(".")[2])


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


class _Mapping:
    """Stands in for mappings of other programs: torch fills none but plain ones."""

    def __new__(cls, *_: object, **__: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _Listing(list[Any]):
    """Stands in for lists of other programs."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, _: object) -> None:
        """Whatever the file gives beside the items is dropped."""


def _stand_in(origin: str, form: str) -> Any:
    """A class of its own for each name, as torch tells them apart by identity."""
    base = {"mapping": _Mapping, "listing": _Listing}.get(form, StandIn)
    if origin.startswith(_SCRIPTED):
        base = Part
    return type(base.__name__, (base,), {"origin": origin})
