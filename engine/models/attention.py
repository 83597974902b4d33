"""Attention whose projections are layers, so that steps work on them like on any others."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """``nn.MultiheadAttention`` with the same tensors, but the projection of its inputs a layer.

    There that weight is a bare parameter that no layer owns: two fifths of the matrices of a
    block. Gives what the other gives.

    Args:
        whole: takes query, key and value of one width, and adds nothing to them.
    """

    def __init__(self, whole: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.dropout = whole.num_heads, whole.dropout
        self.batch_first = whole.batch_first
        width, bias = whole.embed_dim, whole.in_proj_bias
        self.in_proj = nn.Linear(width, 3 * width, bias is not None, device="meta")
        self.in_proj.weight, self.in_proj.bias = whole.in_proj_weight, bias
        self.out_proj = whole.out_proj
        self.train(whole.training)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As ``nn.MultiheadAttention``."""
        plain = key_padding_mask is None and attn_mask is None and not need_weights
        if plain and query is key and key is value and query.dim() == 3 and not is_causal:
            return self._itself(query), None
        turned = self.batch_first and query.dim() == 3
        q, k, v = (x.transpose(0, 1) if turned else x for x in (query, key, value))
        output, weights = F.multi_head_attention_forward(
            q,
            k,
            v,
            query.shape[-1],
            self.heads,
            self.in_proj.weight,
            self.in_proj.bias,
            None,
            None,
            False,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return output.transpose(0, 1) if turned else output, weights

    def _itself(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of (N, T, D) tokens to each other; (T, N, D) if the batch comes second."""
        tokens = x if self.batch_first else x.transpose(0, 1)
        images, count, width = tokens.shape
        parts = self.in_proj(tokens).reshape(images, count, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        dropped = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped)
        output: torch.Tensor = self.out_proj(mixed.transpose(1, 2).reshape(images, count, width))
        return output if self.batch_first else output.transpose(0, 1)


def open_attention(model: nn.Module) -> nn.Module:
    """Replace every attention that can be by ``Attention``, in place; the tensors stay.

    Returns:
        The model.
    """
    made: dict[nn.Module, nn.Module] = {}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if path and _is_plain(module):
            assert isinstance(module, nn.MultiheadAttention)
            parent, _, name = path.rpartition(".")
            new = made.setdefault(module, Attention(module))
            model.get_submodule(parent).add_module(name, new)
    return model


def _is_plain(module: Any) -> bool:
    return (
        type(module) is nn.MultiheadAttention
        and bool(module._qkv_same_embed_dim)
        and module.bias_k is None
        and not module.add_zero_attn
    )
