"""The description of an exported program: only what a classifier is made of.

torch looks up operators by their names, evaluates expressions of sizes and writes the names of
values into Python source. Here each of them is compared with what an honest export contains.
"""

from __future__ import annotations

import keyword
import re
from typing import Any

import torch

from engine.errors import ModelError

_OPERATOR_NAMES = """
conv1d conv2d conv_transpose2d convolution _convolution linear addmm mm bmm matmul einsum batch_norm
native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training layer_norm
native_layer_norm group_norm native_group_norm instance_norm relu relu_ relu6 relu6_ leaky_relu
leaky_relu_ elu elu_ celu selu prelu gelu silu silu_ mish hardtanh hardtanh_ hardswish
hardswish_ hardsigmoid hardsigmoid_ sigmoid sigmoid_ tanh tanh_ softplus softmax _softmax
log_softmax _log_softmax threshold clamp clamp_ clamp_min clamp_max max_pool2d
max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
avg_pool1d adaptive_avg_pool1d local_response_norm dropout dropout_ feature_dropout
feature_dropout_ alpha_dropout alpha_dropout_ feature_alpha_dropout feature_alpha_dropout_
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
channel_shuffle copy_ index_put index_put_ masked_fill_ zero_ logsumexp one_hot remainder
bilinear conv3d conv_transpose1d max_pool1d embedding abs_ neg_ square_ sqrt_ exp_ pow_ clamp_min_
clamp_max_ floor_ ceil_ round_ fmod trunc frac erf sin cos logical_or bitwise_and bitwise_or
bitwise_not any all prod cumsum sort argsort scatter im2col log_sigmoid glu hardshrink softshrink
upsample_bicubic2d affine_grid_generator grid_sampler
rand rand_like randn randn_like bernoulli randint randint_like
"""
_OPERATORS = frozenset(_OPERATOR_NAMES.split())
_SIMPLE = {"add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem", "eq", "ne", "lt",
           "le", "gt", "ge"}  # fmt: skip
_ARGUMENTS = {"as_none", "as_tensor", "as_tensors", "as_int", "as_ints", "as_float", "as_floats",
              "as_string", "as_sym_int", "as_sym_ints", "as_scalar_type", "as_memory_format",
              "as_layout", "as_device", "as_bool", "as_bools", "as_sym_bool", "as_sym_bools",
              "as_optional_tensors", "as_optional_tensor", "as_sym_float", "as_sym_floats",
              "as_name", "as_expr"}  # fmt: skip
"""Kinds of values; not among them are graphs, functions and objects."""

_NUMBERS = {"as_tensor", "as_int", "as_float", "as_bool", "as_sym_int", "as_sym_float",
            "as_sym_bool"}  # fmt: skip
"""What Python's own operators may get: a text or list could be repeated without end."""

_NO_CLASSIFIER = ("custom_obj", "custom_obj_values", "token", "treespec_namedtuple_fields")
_NAMED = ("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values")
WORD = re.compile(r"[\w.:+\-]*", re.ASCII)
_EXPRESSION = re.compile(
    r"(?:\b(?:Symbol|Integer|Max|Min|Mod|Mul|Add|FloorDiv|CleanDiv|Eq|Ne|Le|Lt|Ge|Gt|True|False"
    r"|positive|nonnegative|integer|[su]\d{1,9}|\d{1,12})\b|[\s'=,()+\-*/<>])*",
    re.ASCII,
)
_NOT_IN_EXPRESSIONS = ("**", "<<", ">>")  # a few characters that take all memory
_SPEC = re.compile(r'(?:\[1, |"(?:type|context|children_spec|builtins\.(?:tuple|list|dict)|null'
                   r'|\[(?:\\"\w+\\"(?:, )?)*\])"|[\[\]{},: ]|null)*', re.ASCII)  # fmt: skip
_SYMBOL = re.compile(r"s\d{1,9}|u\d{1,4}", re.ASCII)
_HINT = (
    "A program made by torch.export from a plain classifier has none of it. Write that part of the "
    "network with other operations, or attack it from Python: engine.attacks.run_attack takes any "
    "module."
)


def checked_program(program: dict[str, Any], name: str) -> dict[str, Any]:
    """The description with its code left out, everything else looked at.

    Raises:
        ModelError: it holds something that a classifier does not need.
    """
    program = {**program, "guards_code": [], "metadata": {}}
    ranges = program.get("range_constraints") or {}
    for symbol in ranges:
        if not _SYMBOL.fullmatch(str(symbol)):  # torch counts up to the numbers of these
            raise refused(name, f"the size {str(symbol)[:80]!r}")
    try:
        _walk(program, name, "")
    except RecursionError:
        raise refused(name, "a description nested too deeply") from None
    return program


def _walk(value: Any, name: str, key: str) -> None:
    if isinstance(value, dict):
        _check_keys(value, name, key)
        for inner, one in value.items():
            _walk(one, name, inner)
    elif isinstance(value, list):
        for one in value:
            _walk(one, name, key)
    elif isinstance(value, str):
        _check_string(value, name, key)


def _check_keys(value: dict[str, Any], name: str, key: str) -> None:
    if key in _NAMED:
        for inner in value:
            _check_name(inner, name)
        return
    if "metadata" in value:
        value["metadata"] = {}
    for kind in _NO_CLASSIFIER:
        if value.get(kind):
            raise refused(name, f"a part {kind!r}")
    for inner in value:
        if inner.startswith("as_") and inner not in _ARGUMENTS:
            raise refused(name, f"a value of the kind {inner[:80]!r}")
        _check_string(inner, name, "")
    target = value.get("target")
    if target is not None:
        _check_node(target, value.get("inputs"), name)


def _check_node(target: Any, inputs: Any, name: str) -> None:
    """An operator that is known, and numbers or tensors for those of Python."""
    if not isinstance(target, str) or not _known_operator(target):
        raise refused(name, f"the operator {str(target)[:80]!r}")
    if target.startswith("_operator."):
        kinds = {
            kind
            for one in (inputs if isinstance(inputs, list) else [{"arg": {"": None}}])
            for kind in (one.get("arg") if isinstance(one, dict) else None) or {"": None}
        }
        if kinds - _NUMBERS:
            raise refused(name, f"the operator {target!r} on something that is no number")


def _check_string(text: str, name: str, key: str) -> None:
    if key == "target":
        return
    if key == "expr_str":
        told = any(one in text for one in _NOT_IN_EXPRESSIONS)
        if not _EXPRESSION.fullmatch(text) or told or len(text) > 1000:
            raise refused(name, f"the expression {text[:80]!r}")
    elif key in ("in_spec", "out_spec"):
        if not _SPEC.fullmatch(text):
            raise refused(name, f"inputs or outputs of the form {text[:80]!r}")
    elif key in ("name", "as_name"):
        _check_name(text, name)
    elif not WORD.fullmatch(text):
        raise refused(name, f"the text {text[:80]!r}")


def _check_name(text: str, name: str) -> None:
    """Names of values become variables in the Python source that torch writes and runs."""
    plain = text.isascii() and text.isidentifier() and not keyword.iskeyword(text)
    if text and not (plain and not text.startswith("__")):
        raise refused(name, f"the text {text[:80]!r}")


def _known_operator(target: str) -> bool:
    plain = re.fullmatch(r"_operator\.(\w+)", target)
    if plain:
        return plain[1] in _SIMPLE
    aten = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if not aten or aten[1] not in _OPERATORS:
        return False
    if aten[2] == "out" or aten[2].endswith(
        "_out"
    ):  # writes into a tensor that is given, and has no gradient
        return False
    # An operator has attributes besides its forms, some of which can be called as well.
    forms = getattr(torch.ops.aten, aten[1], None)
    return forms is not None and aten[2] in forms.overloads()


def refused(name: str, what: str) -> ModelError:
    """The error for a program that holds something no classifier needs."""
    return ModelError(f"The exported program {name} is refused: it contains {what}.", _HINT)
