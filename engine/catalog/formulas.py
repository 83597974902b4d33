"""How the numbers of the accounting come about, for people who ask; torch-free."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Formula(NamedTuple):
    """How a number comes about.

    Attributes:
        kind: measured on a file, by a clock or by counting operations; computed by counting
            tensors; theoretical if no program here realises it.
        text: the formula.
    """

    kind: Literal["measured", "computed", "theoretical"]
    text: str


FORMULAS: dict[str, Formula] = {
    "parameters": Formula("computed", "number of trained parameters of the deployed model"),
    "nonzero_parameters": Formula("computed", "trained parameters that are not 0"),
    "weights": Formula(
        "computed",
        "n = weights of all matrices: convolutions, linear layers, and those in no layer",
    ),
    "nonzero_weights": Formula("computed", "z = weights of these that are not 0"),
    "bare_weights": Formula(
        "computed", "weights in no layer, such as embeddings of positions; no step works on them"
    ),
    "sparsity": Formula("computed", "1 - z / n"),
    "levels": Formula("computed", "most distinct values in one output channel"),
    "weight_bits": Formula(
        "computed", "mean bits b of a weight code over all n; 32 if not quantised"
    ),
    "activation_bits": Formula(
        "computed",
        "bits a of an activation code that a layer reads, 32 if it reads fp32; in total those "
        "of the activations that are quantised, and how many layers read such",
    ),
    "activation_layers": Formula("computed", "layers that read codes: a < 32"),
    "activation_macs": Formula("measured", "sum of MACs over the layers with a < 32"),
    "macs": Formula(
        "measured",
        "multiply-accumulates for one image, counted operations / 2; zeros are multiplied too",
    ),
    "other_macs": Formula(
        "measured", "MACs of products outside these layers, as in attention; always fp32"
    ),
    "nonzero_macs": Formula("theoretical", "sum over layers of MACs x z / n, plus others"),
    "bit_operations": Formula(
        "theoretical", "sum over layers of MACs x b x a, plus 32 x 32 x others"
    ),
    "dense_bytes": Formula(
        "computed", "4 x (parameters + BatchNorm statistics) of the base; of a layer 4 n"
    ),
    "packed_bytes": Formula(
        "computed",
        "per layer min(ceil(n b / 8), ceil(n / 8) + ceil(z b / 8)), plus rest",
    ),
    "bitmask_bytes": Formula("computed", "per layer ceil(n / 8) + ceil(z b / 8), plus rest"),
    "csr_bytes": Formula(
        "computed", "per layer ceil(z b / 8) + 4 z + 4 (output channels + 1), plus rest"
    ),
    "entropy_bytes": Formula(
        "theoretical",
        "per layer n x Shannon entropy of its codes / 8 (in fp32: of zero or not, plus 4 z), "
        "plus rest",
    ),
    "rest_bytes": Formula(
        "computed", "4 x (scales + biases + BatchNorm parameters and statistics)"
    ),
    "file_bytes": Formula("measured", "length of the deployed model as a safetensors file"),
    "deflated_bytes": Formula("measured", "length of that file after deflate, level 6"),
    "compression_rate": Formula("computed", "dense_bytes / packed_bytes"),
    "latency": Formula(
        "measured",
        "median time of a forward pass in fp32, variant and base model in turn",
    ),
}
"""Every number of ``accounting.Accounting`` and its layers, and of ``latency.Latency``.

a, b, n and z are those of a layer.
"""
