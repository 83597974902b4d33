"""An exported program (.pt2), looked over before torch builds it.

``torch.export.load`` takes names of functions, Python expressions and pickles from the archive
and trusts them all. So everything in it is compared with what a classifier needs; what only
serves debugging, or is code, is left out.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models import safe_pickle
from engine.models.safe_zip import open_zip, read_entry

_OPERATOR_NAMES = """
conv1d conv2d convolution _convolution linear addmm mm bmm matmul einsum batch_norm
native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training layer_norm
native_layer_norm group_norm native_group_norm instance_norm relu relu_ relu6 relu6_ leaky_relu
leaky_relu_ elu elu_ celu selu prelu gelu silu silu_ mish hardtanh hardtanh_ hardswish
hardswish_ hardsigmoid hardsigmoid_ sigmoid sigmoid_ tanh tanh_ softplus softmax _softmax
log_softmax _log_softmax threshold clamp clamp_ clamp_min clamp_max max_pool2d
max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
avg_pool1d adaptive_avg_pool1d local_response_norm dropout dropout_ feature_dropout
native_dropout stochastic_depth pad constant_pad_nd reflection_pad2d replication_pad2d
upsample_nearest2d upsample_bilinear2d view reshape flatten unflatten permute transpose t
numpy_T unsqueeze squeeze expand expand_as slice select narrow index index_select gather chunk
split split_with_sizes unbind cat stack repeat roll flip contiguous clone detach detach_ alias
lift_fresh_copy to _to_copy type_as fill_ zeros zeros_like ones ones_like full full_like arange
empty_like scalar_tensor new_zeros add add_ sub sub_ rsub mul mul_ div div_ neg abs pow square
sqrt rsqrt exp log sign reciprocal mean sum amax amin max min maximum minimum var std var_mean
norm linalg_vector_norm argmax topk where eq ne lt le gt ge logical_and logical_not masked_fill
floor ceil round scaled_dot_product_attention sym_size sym_numel sym_constrain_range_for_size
_unsafe_view _assert_tensor_metadata _assert_scalar pixel_shuffle pixel_unshuffle
channel_shuffle
"""
_OPERATORS = frozenset(_OPERATOR_NAMES.split())
_SIMPLE = {"add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem", "eq", "ne", "lt",
           "le", "gt", "ge"}  # fmt: skip
_WORD = re.compile(r"[\w.:+\-]*")
_EXPRESSION = re.compile(
    r"(?:\b(?:Symbol|Integer|Max|Min|Mod|Mul|Add|FloorDiv|CleanDiv|Eq|Ne|Le|Lt|Ge|Gt|True|False"
    r"|positive|nonnegative|integer|[su]\d{1,9}|\d{1,12})\b|[\s'=,()+\-*/<>])*"
)
_SPEC = re.compile(r'(?:\[1, |"(?:type|context|children_spec|builtins\.(?:tuple|list|dict)|null'
                   r'|\[(?:\\"\w+\\"(?:, )?)*\])"|[\[\]{},: ]|null)*')  # fmt: skip
_HINT = "A program made by torch.export from a plain classifier has none of it."
_KEPT = ("version", "byteorder", "archive_format", "archive_version", "serialization_id")


def checked_archive(path: Path) -> bytes:
    """The archive, written anew from the parts that were looked over.

    Raises:
        ModelError: it is damaged, or holds something that a classifier does not need.
    """
    size = path.stat().st_size
    rewritten = io.BytesIO()
    with (
        open_zip(path, path.name) as archive,
        zipfile.ZipFile(rewritten, "w", zipfile.ZIP_STORED) as target,
    ):
        for entry in archive.infolist():
            content = read_entry(archive, entry.filename, path.name)
            target.writestr(entry.filename, _checked(entry.filename, content, path.name, size))
    return rewritten.getvalue()


def _checked(entry: str, content: bytes, name: str, size: int) -> bytes:
    inner = entry.partition("/")[2]
    if inner.startswith("models/") and inner.endswith(".json"):
        return json.dumps(_program(_json(content, name), name)).encode()
    if inner.endswith("_config.json"):
        _payloads(_json(content, name), name)
    elif inner.startswith("data/sample_inputs/"):
        _scan_nested(content, name, size)
    elif not re.fullmatch(r"data/(weights|constants)/(weight|tensor)_\d+", inner) and (
        inner.rpartition("/")[2] not in _KEPT
    ):
        raise _refused(name, f"the entry {inner[:80]!r}")
    return content


def _json(content: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise _refused(name, "a description that is no JSON") from None
    if not isinstance(found, dict):
        raise _refused(name, "a description of another form")
    return found


def _payloads(config: dict[str, Any], name: str) -> None:
    if '"use_pickle": true' in json.dumps(config):
        raise _refused(name, "tensors or objects as pickles")


def _scan_nested(content: bytes, name: str, size: int) -> None:
    with open_zip(io.BytesIO(content), name) as archive:
        for entry in archive.namelist():
            if entry.endswith(".pkl"):
                safe_pickle.scan(io.BytesIO(read_entry(archive, entry, name)), name, size)


def _program(program: dict[str, Any], name: str) -> dict[str, Any]:
    """The description with its code left out, every other string looked at."""
    program = {**program, "guards_code": [], "metadata": {}}
    if program.get("treespec_namedtuple_fields"):
        raise _refused(name, "named tuples as inputs")
    try:
        _walk(program, name, "")
    except RecursionError:
        raise _refused(name, "a description nested too deeply") from None
    return program


def _walk(value: Any, name: str, key: str) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            value["metadata"] = {}
        for inner, one in value.items():
            _check_string(str(inner), name, "")
            _walk(one, name, inner)
    elif isinstance(value, list):
        for one in value:
            _walk(one, name, key)
    elif isinstance(value, str):
        _check_string(value, name, key)


def _check_string(text: str, name: str, key: str) -> None:
    if key == "target":
        if not _known_operator(text):
            raise _refused(name, f"the operator {text[:80]!r}")
    elif key == "expr_str":
        if not _EXPRESSION.fullmatch(text) or "**" in text or len(text) > 1000:
            raise _refused(name, f"the expression {text[:80]!r}")
    elif key in ("in_spec", "out_spec"):
        if not _SPEC.fullmatch(text):
            raise _refused(name, f"inputs or outputs of the form {text[:80]!r}")
    elif not _WORD.fullmatch(text):
        raise _refused(name, f"the text {text[:80]!r}")


def _known_operator(target: str) -> bool:
    aten = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.\w+", target)
    plain = re.fullmatch(r"_operator\.(\w+)", target)
    return bool((aten and aten[1] in _OPERATORS) or (plain and plain[1] in _SIMPLE))


def _refused(name: str, what: str) -> ModelError:
    return ModelError(f"The exported program {name} is refused: it contains {what}.", _HINT)
