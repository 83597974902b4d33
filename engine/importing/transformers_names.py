"""Image classifiers of Hugging Face's transformers under the names of torchvision.

Only what is the same network under other names: ResNet, whose parts are renamed, and ViT, whose
query, key and value become one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from engine.errors import ModelError

State = dict[str, torch.Tensor]

_RESNET = (
    (r"resnet\.embedder\.embedder\.convolution\.", "conv1."),
    (r"resnet\.embedder\.embedder\.normalization\.", "bn1."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.",
     r"layer{0}.\2.downsample.0."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\.",
     r"layer{0}.\2.downsample.1."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.",
     r"layer{0}.\2.conv{1}."),
    (r"resnet\.encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\.",
     r"layer{0}.\2.bn{1}."),
    (r"classifier\.1\.", "fc."),
)  # fmt: skip
"""Stages and the parts of a block are counted from 1 in torchvision."""

_BLOCK = r"vit\.encoder\.layer\.(\d+)\."
_OURS = r"encoder.layers.encoder_layer_\1."
_VIT = (
    (r"vit\.embeddings\.cls_token$", "class_token"),
    (r"vit\.embeddings\.position_embeddings$", "encoder.pos_embedding"),
    (r"vit\.embeddings\.patch_embeddings\.projection\.", "conv_proj."),
    (rf"{_BLOCK}attention\.output\.dense\.", f"{_OURS}self_attention.out_proj."),
    (rf"{_BLOCK}intermediate\.dense\.", f"{_OURS}mlp.0."),
    (rf"{_BLOCK}output\.dense\.", f"{_OURS}mlp.3."),
    (rf"{_BLOCK}layernorm_before\.", f"{_OURS}ln_1."),
    (rf"{_BLOCK}layernorm_after\.", f"{_OURS}ln_2."),
    (r"vit\.layernorm\.", "encoder.ln."),
    (r"classifier\.", "heads.head."),
)
_OUR_EPS, _THEIR_EPS = 1e-6, 1e-12
_NOTE = (
    "Its layer normalisation adds {theirs} to the variance, that of torchvision {ours}: logits "
    "differ a little."
)
_QUERY = re.compile(rf"({_BLOCK})attention\.attention\.query\.(weight|bias)")


def renamed(tree: Any, config: Mapping[str, Any], folder: str) -> tuple[Any, tuple[str, ...]]:
    """Weights under names that are recognised; as they are, if the configuration names no class.

    Args:
        tree: the weights.
        config: of the folder.
        folder: its name, for messages.

    Returns:
        The weights, and what is worth telling.

    Raises:
        ModelError: a network of another kind, or one with settings that torchvision lacks.
    """
    kinds = config.get("architectures")
    if not isinstance(kinds, list) or not kinds or not isinstance(tree, Mapping):
        return tree, ()
    kind = str(kinds[0])
    if kind not in _KINDS:
        raise ModelError(
            f"The folder {folder} holds a {kind[:80]} of transformers, which is not converted; "
            f"{' and '.join(_KINDS)} are.",
            "Import it as net.py:make, whose make returns the network that "
            "transformers.AutoModelForImageClassification.from_pretrained(FOLDER) loads.",
        )
    wanted, rename = _KINDS[kind]
    for key, (value, usual) in ((key, (config.get(key, one), one)) for key, one in wanted.items()):
        if value != usual:
            raise ModelError(
                f"The folder {folder} holds a {kind} with {key} = {str(value)[:80]}, but only "
                f"{usual} is converted.",
                "Import it as net.py:make, whose make returns the network.",
            )
    eps = config.get("layer_norm_eps", _THEIR_EPS) if rename is _vit else _OUR_EPS
    notes = () if eps == _OUR_EPS else (_NOTE.format(theirs=eps, ours=_OUR_EPS),)
    return rename({str(key): one for key, one in tree.items()}), notes


def _resnet(state: State) -> State:
    return {_ours(key, _RESNET): one for key, one in state.items()}


def _vit(state: State) -> State:
    found = {}
    for key, one in state.items():
        query = _QUERY.fullmatch(key)
        if query:
            parts = [state.get(key.replace("query", part)) for part in ("query", "key", "value")]
            if all(isinstance(part, torch.Tensor) for part in parts):
                block = re.sub(_BLOCK, _OURS, query[1])
                found[f"{block}self_attention.in_proj_{query[3]}"] = torch.cat(parts)  # type: ignore[arg-type]
        elif not re.match(rf"{_BLOCK}attention\.attention\.(key|value)\.", key):
            found[_ours(key, _VIT)] = one
    return found


def _ours(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, name in names:
        match = re.match(pattern, key)
        if match:
            counted = [int(match[place]) + 1 for place in (1, 3) if place <= (match.lastindex or 0)]
            return match.expand(name.format(*counted)) + key[match.end() :]
    return key


_KINDS: dict[str, tuple[dict[str, Any], Callable[[State], State]]] = {
    "ResNetForImageClassification": (
        {
            "hidden_act": "relu",
            "downsample_in_first_stage": False,
            "downsample_in_bottleneck": False,
        },
        _resnet,
    ),
    "ViTForImageClassification": (
        {"hidden_act": "gelu", "qkv_bias": True},
        _vit,
    ),
}
"""Settings that torchvision's networks have, and how their tensors are renamed."""
