"""What a variant costs, in words and columns, from what is stored of it; no widgets."""

from __future__ import annotations

from typing import Any

from engine import catalog
from engine.store import Row
from gui.evidence import percent
from gui.widgets.facts import Fact

# Title of a group, and label and key of its totals.
_GROUPS = (
    (
        "Cost of the variant",
        (
            ("sparsity", "sparsity"),
            ("weight bits", "weight_bits"),
            ("activation bits", "activation_bits"),
            ("levels", "levels"),
            ("parameters", "parameters"),
            ("not zero", "nonzero_parameters"),
        ),
    ),
    (
        "Storage in bytes",
        (
            ("dense fp32", "dense_bytes"),
            ("packed", "packed_bytes"),
            ("compression", "compression_rate"),
            ("bitmask", "bitmask_bytes"),
            ("CSR", "csr_bytes"),
            ("entropy bound", "entropy_bytes"),
            ("file", "file_bytes"),
            ("deflated file", "deflated_bytes"),
        ),
    ),
    (
        "Work and time",
        (
            ("MACs", "macs"),
            ("non-zero MACs", "nonzero_macs"),
            ("bit operations", "bit_operations"),
        ),
    ),
)

LAYER_COLUMNS = (
    ("weights", "weights"),
    ("not zero", "nonzero_weights"),
    ("levels", "levels"),
    ("weight bits", "weight_bits"),
    ("activation bits", "activation_bits"),
    ("MACs", "macs"),
    ("non-zero MACs", "nonzero_macs"),
    ("bit operations", "bit_operations"),
    ("dense bytes", "dense_bytes"),
    ("packed bytes", "packed_bytes"),
    ("bitmask bytes", "bitmask_bytes"),
    ("CSR bytes", "csr_bytes"),
    ("entropy bound", "entropy_bytes"),
)
"""Head and key of every number of a layer; the totals have the same keys."""

_NOTICEABLE = 0.01
"""Share of zeros from which on somebody may wonder why nothing is faster."""


def cost_facts(variant: Row) -> list[tuple[str, list[Fact]]]:
    """The totals of a stored variant (``Store.variant``), by group; with their formulas.

    What an older version did not count is left out.
    """
    accounting = variant.get("accounting", {})
    groups = [
        (title, [_fact(label, key, accounting[key]) for label, key in totals if key in accounting])
        for title, totals in _GROUPS
    ]
    if accounting:
        groups[0][1].insert(0, ("requested", accounting["requested"], ""))
    groups[-1][1].extend(_latency(variant))
    return [(title, facts) for title, facts in groups if facts]


def why_not_faster(variant: Row) -> str:
    """Why fewer weights or bits are not less time, with what was measured; else empty."""
    accounting = variant.get("accounting", {})
    sentences: list[str] = []
    if accounting.get("sparsity", 0) >= _NOTICEABLE:
        sentences.append(
            f"{percent(accounting['sparsity'])} of the weights are zero, but masks save storage, "
            "not time: dense kernels multiply the zeros like all other numbers."
        )
    rounded = accounting.get("activation_bits", 32) < 32
    if rounded or accounting.get("weight_bits", 32) < 32:
        also = ", and rounding the activations takes time of its own" if rounded else ""
        sentences.append(
            "Codes of few bits save storage, not time: they are computed with as fp32 "
            f"numbers{also}."
        )
    measured = [
        f"{row['milliseconds'] / row['base_milliseconds']:.2f}x for a batch of {row['batch']}"
        for row in variant.get("latency", ())
    ]
    if sentences and measured:
        sentences.append(f"Measured against the base model: {', '.join(measured)}.")
    return " ".join(sentences)


def layer_texts(row: Row) -> list[str]:
    """One text per column of ``LAYER_COLUMNS``; empty where an older version did not count."""
    return [amount(key, row[key]) if key in row else "" for _, key in LAYER_COLUMNS]


def formula(key: str) -> str:
    """How a number comes about, after whether it is measured, computed or theoretical."""
    found = catalog.FORMULAS[key]
    return f"{found.kind}: {found.text}"


def amount(key: str, value: float) -> str:
    """A number of the accounting as text."""
    if key == "sparsity":
        return percent(value)
    if key == "compression_rate":
        return f"{value:.3g}x"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _fact(label: str, key: str, value: Any) -> Fact:
    return label, amount(key, value), formula(key)


def _latency(variant: Row) -> list[Fact]:
    return [
        (
            f"latency of {row['batch']}",
            f"{row['milliseconds']:.3g} ms",
            f"{formula('latency')}; {row['repeats']} repeats on {_place(row)}; "
            f"base model {row['base_milliseconds']:.3g} ms",
        )
        for row in variant.get("latency", ())
    ]


def _place(row: Row) -> str:
    """The device; a processor names its threads itself."""
    if "thread" in row["device"]:
        return str(row["device"])
    return f"{row['device']}, {row['threads']} threads"
