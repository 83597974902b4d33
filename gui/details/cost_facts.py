"""What a variant costs, in words and columns, from what is stored of it; no widgets."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine import catalog
from engine.errors import CrumpleError
from engine.statistics.words import percent
from engine.store import Payload
from gui.widgets.facts import Compared, Fact

# Title of a group, and label and key of its totals.
_OTHER, _BARE = "other_macs", "bare_weights"
_RARE = (_OTHER, _BARE)
"""Of most networks 0, and then left out."""
_GROUPS = (
    (
        "Cost of the variant",
        (
            ("sparsity", "sparsity"),
            ("weight bits", "weight_bits"),
            ("weights in no layer", _BARE),
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
            ("of these outside layers", _OTHER),
            ("non-zero MACs", "nonzero_macs"),
            ("MACs on codes", "activation_macs"),
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

_HIGH = 0.5
"""Share of zeros from which on somebody may wonder why nothing is faster."""
_FASTER = 0.9
"""Share of the base model's time below which a variant counts as faster."""
_FP32, _BYTE = 32, 8

_REQUESTS = (
    ("sparsity", "sparsity"),
    ("weight bits", "weight_bits"),
    ("activation bits", "activation_bits"),
)
"""Label and key of what a recipe may ask for in numbers."""


def compared(variant: Payload, recipe: Sequence[Payload]) -> dict[str, Compared]:
    """What the recipe asked for in numbers beside what came of it, by key of the accounting."""
    accounting = variant.get("accounting", {})
    asked = _requested(recipe)
    return {
        key: Compared(label, amount(key, asked[key]), total(key, accounting), formula(key))
        for label, key in _REQUESTS
        if key in asked and key in accounting
    }


def _requested(recipe: Sequence[Payload]) -> dict[str, float]:
    """Of several steps that ask for the same, the last one counts; of sparsities the highest."""
    asked: dict[str, float] = {}
    for step in recipe:
        try:
            params = catalog.find("compressions", step["name"]).params
            requested = params.model_validate(step["params"]).requested()
        except (CrumpleError, ValueError):
            continue  # of another version of the catalogue
        # Weights that are zero stay zero, so a milder pruning asks for no less.
        kept = {
            k: max(v, requested[k]) for k, v in asked.items() if k in requested and k == "sparsity"
        }
        asked |= requested | kept
    return asked


def cost_facts(variant: Payload, without: Collection[str] = ()) -> list[tuple[str, list[Fact]]]:
    """The totals of a stored variant (``Store.variant``), by group; with their formulas.

    What an older version did not count is left out, and what is named ``without``.
    """
    accounting = {k: v for k, v in variant.get("accounting", {}).items() if k not in without}
    for key in _RARE:
        if not accounting.get(key):
            accounting.pop(key, None)
    groups = [
        (title, [_fact(label, key, accounting) for label, key in totals if key in accounting])
        for title, totals in _GROUPS
    ]
    if accounting:
        groups[0][1].insert(0, ("requested", accounting["requested"], ""))
    groups[-1][1].extend(_latency(variant.get("latency", ())))
    groups.append(("Integer check", _integer_check(variant.get("integer_check") or {})))
    return [(title, facts) for title, facts in groups if facts]


def why_not_faster(variant: Payload, recipe: Sequence[Payload] = ()) -> str:
    """Why fewer weights or bits are not less time; empty if that needs no explanation."""
    accounting = variant.get("accounting", {})
    words = [
        _about_masks(accounting, variant.get("latency", ())),
        _about_groups(recipe),
        _about_bits(accounting),
    ]
    return " ".join(filter(None, words))


def _about_masks(accounting: Payload, latency: Sequence[Payload]) -> str:
    """Only where many weights are zero and the time was measured to be about the same."""
    ratios = [(row["milliseconds"] / row["base_milliseconds"], row["batch"]) for row in latency]
    if accounting.get("sparsity", 0) < _HIGH or not ratios or min(ratios)[0] < _FASTER:
        return ""
    measured = " and ".join(f"{ratio:.2f}x for a batch of {batch}" for ratio, batch in ratios)
    return (
        f"{percent(accounting['sparsity'])} of the weights are zero, but a forward pass takes "
        f"{measured} of the base model's time: masks save storage, not time, because dense "
        "kernels multiply the zeros like all other numbers."
    )


def _about_groups(recipe: Sequence[Payload]) -> str:
    sizes = [(step["params"].get("n"), step["params"].get("m")) for step in recipe]
    if (2, 4) not in sizes:
        return ""
    return (
        "Whether 2:4 sparsity saves time depends on the hardware (sparse matrix units): "
        "hardware-dependent, not measured."
    )


def _about_bits(accounting: Payload) -> str:
    layer_bits = [layer["weight_bits"] for layer in accounting.get("layers", ())]
    bits = min([*layer_bits, accounting.get("weight_bits", _FP32)])
    rounded = accounting.get("activation_bits", _FP32) < _FP32
    also = ", and rounding the activations takes time of its own" if rounded else ""
    if bits >= _FP32:
        return f"Rounded activations are computed with as fp32 numbers{also}." if also else ""
    if bits < _BYTE:
        return f"There is no kernel for {bits:g}-bit convolutions here: nominal size only{also}."
    return f"Codes of {bits:g} bits are computed with as fp32 numbers here{also}."


def layer_texts(row: Payload) -> list[str]:
    """One text per column of ``LAYER_COLUMNS``, of a layer or of the total.

    Empty where an older version did not count.
    """
    return [total(key, row) if key in row else "" for _, key in LAYER_COLUMNS]


def formula(key: str) -> str:
    """How a number comes about, after whether it is measured, computed or theoretical."""
    formula_of = catalog.FORMULAS[key]
    return f"{formula_of.kind}: {formula_of.text}"


def amount(key: str, value: float) -> str:
    """A number of the accounting as text."""
    if key == "sparsity":
        return percent(value)
    if key == "compression_rate":
        return f"{value:.3g}x"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def total(key: str, accounting: Payload) -> str:
    """A number of the whole model as text; of activation bits also which layers read them."""
    text = amount(key, accounting[key])
    count, layers = accounting.get("activation_layers"), len(accounting.get("layers", ()))
    if key != "activation_bits" or accounting[key] >= _FP32 or count in (None, layers):
        return text
    return f"{text} ({count} of {layers} layers; the rest reads fp32)"


def _fact(label: str, key: str, accounting: Payload) -> Fact:
    return label, total(key, accounting), formula(key)


def _latency(rows: Sequence[Payload]) -> list[Fact]:
    return [
        (
            f"latency of {row['batch']}",
            f"{row['milliseconds']:.3g} ms",
            f"{formula('latency')}; {row['repeats']} repeats on {_place(row)}; "
            f"base model {row['base_milliseconds']:.3g} ms",
        )
        for row in rows
    ]


def _integer_check(check: Payload) -> list[Fact]:
    """How the variant does in integer arithmetic, if tried (``engine.costs.integer_check``)."""
    if "skipped" in check:
        return [("not checked", check["skipped"], "")]
    facts: list[Fact] = []
    if "engine" in check:
        note = f"{check['integer_layers']} of {check['layers']} layers run on integers"
        if check.get("calibrated_layers"):
            note += f", {check['calibrated_layers']} of them on what the variant leaves in fp32"
        facts.append(("engine", check["engine"], note))
    if "clean_agreement" in check:
        note = f"measured: same class as the deployed model, of {check['images']} images"
        facts.append(("agreement", percent(check["clean_agreement"]), note))
    if "near_agreement" in check:
        note = f"measured: the same on PGD examples with eps {catalog.format_number(check['eps'])}"
        facts.append(("near boundary", percent(check["near_agreement"]), note))
    for row in check.get("latency", ()):
        note = (
            "measured: median time of a forward pass on integers; the same network in fp32 "
            f"there {row['fp32_milliseconds']:.3g} ms"
        )
        facts.append((f"integer, {row['batch']}", f"{row['milliseconds']:.3g} ms", note))
    return facts


def _place(row: Payload) -> str:
    """The device; a processor names its threads itself."""
    if "thread" in row["device"]:
        return str(row["device"])
    return f"{row['device']}, {row['threads']} threads"
