"""The checks behind the lights of a run: which flags, which number, and when one is not made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from engine import catalog
from engine.flags import ABOUT_GRADIENTS, ABOUT_SEARCH
from engine.store import Row

_NOT_MEASURED = "This was not measured for this run."
_SEARCH_CHECKED = 2
"""Version of the diagnostics from which on the course of the search is checked."""
_LEAST_STEPS = 8
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One check: the flags it can raise, its number, and when it is not made.

    Attributes:
        flags: that it can raise; the worst one counts.
        figure: the number from those of the gate and the row.
        missing: why it was not made, empty if it was.
    """

    id: str
    title: str
    flags: tuple[str, ...]
    figure: Callable[[Numbers, Row], str] = lambda _numbers, _row: ""
    missing: Callable[[Numbers, Row], str] = lambda _numbers, _row: ""


def percent(value: float | None) -> str:
    """``63.2 %``; empty for None."""
    return "" if value is None else f"{value * 100:.1f} %"


def _share(name: str, words: str) -> Callable[[Numbers, Row], str]:
    return lambda numbers, _: f"{percent(numbers[name])} {words}" if name in numbers else ""


def _cosine(name: str) -> Callable[[Numbers, Row], str]:
    def figure(numbers: Numbers, _: Row) -> str:
        value = numbers.get(name)
        return "" if value is None else f"median cosine {value:.2f}"

    return figure


def _no_parent(_: Numbers, row: Row) -> str:
    return (
        "" if row["spec"]["recipe"] else "The uncompressed model has nothing to be compared with."
    )


def _measured(name: str) -> Callable[[Numbers, Row], str]:
    return lambda numbers, _: "" if numbers.get(name) is not None else _NOT_MEASURED


def _scales(numbers: Numbers, _: Row) -> str:
    if "temperature_broken" not in numbers:
        return ""
    plain, scaled = numbers["temperature_broken"], numbers["temperature_broken_rescaled"]
    return f"breaks {percent(plain)}, rescaled {percent(scaled)}"


def _older(_: Numbers, row: Row) -> str:
    stages = row["environment"].get("stages", {})
    return "" if stages.get("diagnostics", 0) >= _SEARCH_CHECKED else _NOT_MEASURED


def traits(row: Row) -> Collection[str] | None:
    """What the attack of a run does, as it was when it ran; None if nobody knows any more."""
    if (row.get("checks") or {}).get("traits") is not None:
        return list(row["checks"]["traits"])
    entry = catalog.section("attacks").get(row["spec"]["attack"]["name"])
    return None if entry is None else entry.traits


def _not_iterative(numbers: Numbers, row: Row) -> str:
    asked = f"Asked of attacks in a ball that make {_LEAST_STEPS} steps or more in one go."
    if "came_to_its_end" in (row.get("checks") or {}):
        return "" if row["checks"]["came_to_its_end"] else asked
    # A run of an earlier version: by what the catalogue says of its attack today.
    steps = row["spec"]["attack"]["params"].get("steps") or 0
    if "iterative" not in (traits(row) or ()) or not row["eps"] or steps < _LEAST_STEPS:
        return asked
    return _older(numbers, row)


def moot(check: Check, row: Row) -> str:
    """Why a check has nothing to say about a run; empty if it has."""
    raised = set(check.flags)
    known = traits(row)
    if raised <= ABOUT_GRADIENTS and known is not None and "gradient" not in known:
        return "The attack follows no gradient."
    if raised <= ABOUT_SEARCH and row["eps"] and row["robust_accuracy"] == 0:
        return "No image held, so no stronger search is missed."
    return ""


def _rival(name: str) -> Callable[[Numbers, Row], str]:
    def figure(_: Numbers, row: Row) -> str:
        if row[f"{name}_accuracy"] is None:
            return ""
        return f"{percent(row[f'{name}_accuracy'])} of {row[f'{name}_n']} held"

    return figure


def _no_transfer(numbers: Numbers, row: Row) -> str:
    if row["transfer_accuracy"] is not None:
        return ""
    return _no_parent(numbers, row) or "There were no examples of the uncompressed model to try."


def _no_rival(_: Numbers, row: Row) -> str:
    if row["black_box_accuracy"] is not None:
        return ""
    if not row["eps"]:
        return "The attack has no eps that a rival could share."
    if not row["robust_accuracy"]:
        return "There was no image left to try."
    return "The attack itself searches without gradients, or contains such an attack."


def _square(_: Numbers, row: Row) -> str:
    if row["black_box_accuracy"] is None:
        return ""
    # Runs of earlier versions were checked on their first images instead.
    whom = "images left" if row.get("checks") else ""
    held = f"{percent(row['black_box_accuracy'])} of {row['black_box_n']}"
    return " ".join(filter(None, (held, whom, "held")))


def _targeted(row: Row) -> Mapping[str, Any] | None:
    made = (row.get("checks") or {}).get("survivors", [])
    return next((one for one in made if one["name"] == "apgd-t" and one["tried"]), None)


def _targeted_figure(_: Numbers, row: Row) -> str:
    check = _targeted(row)
    if check is None:
        return ""
    held = percent(1 - len(check["broken"]) / check["tried"])
    return f"{held} of {check['tried']} images left held"


def _no_targeted(numbers: Numbers, row: Row) -> str:
    if _targeted(row):
        return ""
    if not row["eps"] or not row["robust_accuracy"]:
        return _no_rival(numbers, {**row, "black_box_accuracy": None})
    return (
        "Tried after an attack that could be evidence, where a twin or a doubt calls for it, or "
        "where it is cheap beside the attack."
    )


def _worst_case(_: Numbers, row: Row) -> str:
    verdict = row.get("verdict") or {}
    if not verdict.get("rivals"):
        return ""
    if row.get("worst_case") is None:
        return f"{counted(verdict['rivals'], 'other search', 'es')} compared"
    return f"{percent(row['worst_case'])} survive all {verdict['rivals'] + 1}"


def _alone(_: Numbers, row: Row) -> str:
    verdict = row.get("verdict") or {}
    if verdict.get("rivals"):
        return ""
    if not verdict:
        return _NOT_MEASURED
    return "Nothing else is stored of this variant and these images in this threat model."


def counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


CHECKS = (
    Check("present", "Gradient exists", ("no-gradient",)),
    Check("finite", "Gradient is finite", ("nonfinite-gradient",)),
    Check(
        "zero",
        "Gradient is not zero",
        ("zero-gradient",),
        figure=_share("gradient_zero_fraction", "zero"),
    ),
    Check(
        "saturated",
        "Loss is not saturated",
        ("saturated-loss",),
        figure=_share("gradient_saturated_fraction", "flat"),
    ),
    Check(
        "parent",
        "Gradient agrees with the parent",
        ("gradient-disagrees",),
        figure=_cosine("gradient_cosine"),
        missing=_no_parent,
    ),
    Check(
        "secants",
        "Gradient tells what happens",
        ("secants-disagree",),
        figure=_cosine("secant_agreement"),
        missing=_measured("secant_agreement"),
    ),
    Check(
        "temperature",
        "Scale of the logits does not matter",
        ("logit-scale",),
        figure=_scales,
        missing=_measured("temperature_broken"),
    ),
    Check(
        "unconstrained",
        "Unconstrained attack breaks all",
        ("unconstrained-survives",),
        figure=_share("unconstrained_accuracy", "left"),
        missing=_measured("unconstrained_accuracy"),
    ),
    Check(
        "rivals",
        "No stored attack is stronger",
        ("stronger-attack", "closer-examples"),
        figure=_worst_case,
        missing=_alone,
    ),
    Check("unfinished", "Attack had come to its end", ("unfinished",), missing=_not_iterative),
    Check("lost", "Attack lost no example", ("silent-success",), missing=_older),
    Check(
        "view",
        "Search copy agrees with the deployed model",
        ("view-disagrees",),
        figure=_share("view_agreement", "same"),
    ),
    Check(
        "random",
        "Output is deterministic",
        ("random-output",),
        figure=_share("predictions_redrawn", "change"),
    ),
    Check(
        "batch",
        "Output does not depend on the batch",
        ("batch-dependent",),
        figure=_share("depend_on_batch", "depend"),
        missing=_measured("depend_on_batch"),
    ),
    Check("outputs", "Output is finite", ("nonfinite-output", "masked-classes")),
    Check("logits", "Output is logits", ("probabilities",)),
    Check(
        "chance",
        "Clean accuracy is above guessing",
        ("near-chance",),
        figure=_share("clean_accuracy", "clean"),
    ),
    Check(
        "transfer",
        "Transferred examples are no stronger",
        ("gradient-masking", "no-transfer-check"),
        figure=_rival("transfer"),
        missing=_no_transfer,
    ),
    Check(
        "black-box",
        "Attack without gradients is no stronger",
        ("black-box-stronger", "no-survivor-check"),
        figure=_square,
        missing=_no_rival,
    ),
    Check(
        "targeted",
        "Targeted APGD is no stronger",
        ("targeted-stronger",),
        figure=_targeted_figure,
        missing=_no_targeted,
    ),
)
