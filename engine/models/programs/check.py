"""An exported program (.pt2), made anew from its parts before torch builds it.

``torch.export.load`` takes names of functions, Python expressions and pickles from the archive
and trusts them all. So it never sees the file itself: what a classifier needs is looked over and
written into a new archive, under the names that torch looks for; what only serves debugging, or is
code, is left out; anything else is refused.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.files import safe_pickle
from engine.models.files.safe_zip import open_zip, read_entry
from engine.models.programs.graph import WORD, checked_program, refused

_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_WEIGHTS = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"
_NAMES = {_WEIGHTS: r"weight_\d{1,9}", _CONSTANTS: r"tensor_\d{1,9}"}
_LEFT_OUT = {
    *("version", "byteorder", "archive_format", "archive_version"),
    *(".data/version", ".data/serialization_id"),
}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}
"""Of the types of tensors, by their numbers in ``torch._export.serde.schema.ScalarType``."""

_MOST_SHARED = 64
_STRIDED = 7
_CPU = {"type": "cpu", "index": None}


def checked_archive(path: Path) -> bytes:
    """The archive, written anew from the parts that were looked over.

    Raises:
        ModelError: it is damaged, or holds something that a classifier does not need.
    """
    with open_zip(path, path.name) as archive:
        entries = _entries(archive, path.name)
        found = {inner: read_entry(archive, entry, path.name) for inner, entry in entries.items()}
    for needed in (_MODEL, _WEIGHTS, _CONSTANTS):
        if needed not in found:
            raise ModelError(f"The exported program {path.name} has no part {needed!r}.")
    if found.get("byteorder", b"little") != b"little":
        raise refused(path.name, "numbers in another order of bytes than this computer's")
    _scan_samples(found.get(_SAMPLES, b""), path.name)
    parts = {_MODEL: json.dumps(checked_program(_json(found[_MODEL], path.name), path.name))}
    for config in _NAMES:
        parts[config] = json.dumps(_payloads(config, found, path.name))
    records = {inner: content for inner, content in found.items() if _is_record(inner)}
    version = found.get("archive_version", b"0")
    if not re.fullmatch(rb"\d{1,6}", version):
        raise refused(path.name, "a version that is no number")
    texts = {inner: text.encode() for inner, text in parts.items()}
    return _written({"archive_version": version, **texts, **records})


def _entries(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    """The entries by their paths below the one folder that holds them all.

    Their names are compared whole, capital letters too, as torch's own reader does not.
    """
    found: dict[str, str] = {}
    roots: set[str] = set()
    for entry in archive.namelist():
        root, _, inner = entry.partition("/")
        roots.add(root)
        known = inner in {*_LEFT_OUT, *_NAMES, _MODEL, _SAMPLES}
        if not known and not _is_record(inner):
            raise refused(name, f"the entry {inner[:80] or entry[:80]!r}")
        found[inner] = entry
    if len(roots) > 1:
        raise refused(name, f"{len(roots)} folders instead of one")
    return found


def _is_record(inner: str) -> bool:
    folder, _, record = inner.rpartition("/")
    return any(
        folder == config.rpartition("/")[0] and re.fullmatch(pattern, record, re.ASCII)
        for config, pattern in _NAMES.items()
    )


def _scan_samples(content: bytes, name: str) -> None:
    """Example inputs are never passed on; those that are no tensors tell that the file is bad."""
    if not content:
        return
    if not content.startswith(b"PK\x03\x04"):
        raise refused(name, "example inputs in a form that torch.export does not write")
    with open_zip(io.BytesIO(content), name) as archive:
        for entry in archive.namelist():
            if entry.lower().endswith(".pkl"):
                pickled = read_entry(archive, entry, name)
                safe_pickle.scan(io.BytesIO(pickled), name, len(content))


def _written(parts: dict[str, bytes]) -> bytes:
    """An archive of torch; the same parts give the same bytes."""
    buffer = io.BytesIO()
    fixed = {
        "archive_format": b"pt2",
        "byteorder": b"little",
        ".data/version": b"6\n",
        _SAMPLES: b"",
    }
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for inner, content in {**fixed, **parts}.items():
            target.writestr(zipfile.ZipInfo(f"model/{inner}"), content)
    return buffer.getvalue()


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise refused(name, "a description that is no JSON") from None
    if not isinstance(found, dict):
        raise refused(name, "a description of another form")
    return found


def _payloads(config: str, parts: dict[str, bytes], name: str) -> dict[str, Any]:
    """What the records of a folder hold, each a plain tensor that lies within its bytes."""
    tensors = _json(parts[config], name).get("config")
    if not isinstance(tensors, dict):
        raise refused(name, "a description of another form")
    folder = config.rpartition("/")[0]
    checked = {}
    declared: dict[str, int] = {}
    for key, value in tensors.items():
        if not WORD.fullmatch(key):
            raise refused(name, f"the text {key[:80]!r}")
        checked[key] = _payload(value, _NAMES[config], name)
        record = checked[key]["path_name"]
        present = len(parts.get(f"{folder}/{record}", b""))
        size = _size(checked[key]["tensor_meta"], name)
        if size > present:
            raise refused(name, f"the tensor {key[:80]!r} of {size:,} bytes from {present:,}")
        declared[record] = declared.get(record, 0) + size
        if declared[record] > _MOST_SHARED * present:
            raise refused(name, f"more than {_MOST_SHARED} tensors on the same bytes")
    return {"config": checked}


def _payload(value: Any, record: str, name: str) -> dict[str, Any]:
    value = value if isinstance(value, dict) else {}
    path = value.get("path_name")
    if value.get("use_pickle") is not False:
        raise refused(name, "tensors or objects as pickles")
    if not isinstance(path, str) or not re.fullmatch(record, path, re.ASCII):
        raise refused(name, f"objects that are no plain tensors: {str(path)[:80]!r}")
    return {
        "path_name": path,
        "is_param": value.get("is_param") is True,
        "use_pickle": False,
        "tensor_meta": _tensor(value.get("tensor_meta"), name),
    }


def _tensor(meta: Any, name: str) -> dict[str, Any]:
    meta = meta if isinstance(meta, dict) else {}
    dtype = meta.get("dtype")
    if type(dtype) is not int or dtype not in _BYTES or meta.get("layout", _STRIDED) != _STRIDED:
        raise refused(name, f"tensors of the type {str(dtype)[:20]}")
    sizes, strides = _numbers(meta.get("sizes"), name), _numbers(meta.get("strides"), name)
    offset = _numbers([meta.get("storage_offset")], name)[0]
    if len(sizes) != len(strides):
        raise refused(name, "tensors with more sizes than strides")
    return {
        "dtype": dtype,
        "sizes": [{"as_int": one} for one in sizes],
        "requires_grad": meta.get("requires_grad") is True,
        "device": _CPU,
        "strides": [{"as_int": one} for one in strides],
        "storage_offset": {"as_int": offset},
        "layout": _STRIDED,
    }


def _numbers(found: Any, name: str) -> list[int]:
    numbers: list[int] = []
    for one in found if isinstance(found, list) else [None]:
        value = one.get("as_int") if isinstance(one, dict) else None
        if type(value) is not int or not 0 <= value < 2**48:
            raise refused(name, "tensors whose sizes are no numbers")
        numbers.append(value)
    return numbers


def _size(meta: dict[str, Any], name: str) -> int:
    """The bytes that a tensor needs, and at least those up to its last element."""
    sizes: list[int] = [one["as_int"] for one in meta["sizes"]]
    strides: list[int] = [one["as_int"] for one in meta["strides"]]
    elements = math.prod(sizes)
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    offset: int = meta["storage_offset"]["as_int"]
    reach = offset + last + 1 if elements else 0
    if not elements and max(sizes, default=0) > 2**31:
        raise refused(name, "tensors whose sizes are no numbers")
    return _BYTES[meta["dtype"]] * max(elements, reach)
