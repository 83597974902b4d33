"""What the diagnostics say of a run: one light per check and one sentence; no widgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.plan import diagnostics_key
from engine.store import Row, Store

LEVELS = ("danger", "warning", "info", "unknown", "ok")
"""From what has to be read first to what can be skipped."""

LEVEL_WORDS = {
    "ok": "passed",
    "info": "note",
    "warning": "doubt",
    "danger": "failed",
    "unknown": "not checked",
}
LEVEL_ROLES = {
    "ok": "ok",
    "info": "accent",
    "warning": "warning",
    "danger": "danger",
    "unknown": "muted",
}
"""The colour of each level, as a role of the theme."""

_NOT_MEASURED = "This was not measured for this run."
_SEARCH_CHECKED = 2
"""Version of the diagnostics from which on the course of the search is checked."""
_ITERATIVE = ("pgd", "pgd-l2", "apgd-ce", "apgd-dlr", "fb-pgd")
_LEAST_STEPS = 8
_Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Light:
    """What one check says.

    Attributes:
        id: of the check, or of the flag that belongs to none.
        level: one of ``LEVELS``.
        figure: the number behind it, with its unit; empty if there is none.
        words: what was found, or why there is nothing; empty if all is well.
    """

    id: str
    title: str
    level: str
    figure: str = ""
    words: str = ""


@dataclass(frozen=True)
class Summary:
    """All lights in one sentence."""

    level: str
    text: str


@dataclass(frozen=True)
class _Check:
    """One check: the flags it can raise, its number, and when it is not made.

    Attributes:
        flags: that it can raise; the worst one counts.
        figure: the number from those of the gate and the row.
        missing: why it was not made, empty if it was.
    """

    id: str
    title: str
    flags: tuple[str, ...]
    figure: Callable[[_Numbers, Row], str] = lambda _numbers, _row: ""
    missing: Callable[[_Numbers, Row], str] = lambda _numbers, _row: ""


def percent(value: float | None) -> str:
    """``63.2 %``; empty for None."""
    return "" if value is None else f"{value * 100:.1f} %"


def _share(name: str, words: str) -> Callable[[_Numbers, Row], str]:
    return lambda numbers, _: f"{percent(numbers[name])} {words}" if name in numbers else ""


def _cosine(name: str) -> Callable[[_Numbers, Row], str]:
    def figure(numbers: _Numbers, _: Row) -> str:
        value = numbers.get(name)
        return "" if value is None else f"median cosine {value:.2f}"

    return figure


def _no_parent(_: _Numbers, row: Row) -> str:
    return (
        "" if row["spec"]["recipe"] else "The uncompressed model has nothing to be compared with."
    )


def _measured(name: str) -> Callable[[_Numbers, Row], str]:
    return lambda numbers, _: "" if numbers.get(name) is not None else _NOT_MEASURED


def _scales(numbers: _Numbers, _: Row) -> str:
    if "temperature_broken" not in numbers:
        return ""
    plain, scaled = numbers["temperature_broken"], numbers["temperature_broken_rescaled"]
    return f"breaks {percent(plain)}, rescaled {percent(scaled)}"


def _older(_: _Numbers, row: Row) -> str:
    stages = row["environment"].get("stages", {})
    return "" if stages.get("diagnostics", 0) >= _SEARCH_CHECKED else _NOT_MEASURED


def _not_iterative(numbers: _Numbers, row: Row) -> str:
    attack = row["spec"]["attack"]
    iterative = attack["name"] in _ITERATIVE or attack["name"].startswith("torchattacks.")
    if not iterative or not row["eps"] or (attack["params"].get("steps") or 0) < _LEAST_STEPS:
        return f"Asked of attacks in a ball that make {_LEAST_STEPS} steps or more in one go."
    return _older(numbers, row)


def _rival(name: str) -> Callable[[_Numbers, Row], str]:
    def figure(_: _Numbers, row: Row) -> str:
        if row[f"{name}_accuracy"] is None:
            return ""
        return f"{percent(row[f'{name}_accuracy'])} of {row[f'{name}_n']} held"

    return figure


def _no_transfer(numbers: _Numbers, row: Row) -> str:
    if row["transfer_accuracy"] is not None:
        return ""
    return _no_parent(numbers, row) or "There were no examples of the uncompressed model to try."


def _no_rival(_: _Numbers, row: Row) -> str:
    if row["black_box_accuracy"] is not None:
        return ""
    if not row["eps"]:
        return "The attack has no eps that a rival could share."
    return "The attack itself searches without gradients, or contains such an attack."


_CHECKS = (
    _Check("present", "Gradient exists", ("no-gradient",)),
    _Check("finite", "Gradient is finite", ("nonfinite-gradient",)),
    _Check(
        "zero",
        "Gradient is not zero",
        ("zero-gradient",),
        figure=_share("gradient_zero_fraction", "zero"),
    ),
    _Check(
        "saturated",
        "Loss is not saturated",
        ("saturated-loss",),
        figure=_share("gradient_saturated_fraction", "flat"),
    ),
    _Check(
        "parent",
        "Gradient agrees with the parent",
        ("gradient-disagrees",),
        figure=_cosine("gradient_cosine"),
        missing=_no_parent,
    ),
    _Check(
        "secants",
        "Gradient tells what happens",
        ("secants-disagree",),
        figure=_cosine("secant_agreement"),
        missing=_measured("secant_agreement"),
    ),
    _Check(
        "temperature",
        "Scale of the logits does not matter",
        ("logit-scale",),
        figure=_scales,
        missing=_measured("temperature_broken"),
    ),
    _Check(
        "unconstrained",
        "Unconstrained attack breaks all",
        ("unconstrained-survives",),
        figure=_share("unconstrained_accuracy", "left"),
        missing=_measured("unconstrained_accuracy"),
    ),
    _Check("unfinished", "Attack had come to its end", ("unfinished",), missing=_not_iterative),
    _Check("lost", "Attack lost no example", ("silent-success",), missing=_older),
    _Check(
        "view",
        "Search copy agrees with the deployed model",
        ("view-disagrees",),
        figure=_share("view_agreement", "same"),
    ),
    _Check(
        "random",
        "Output is deterministic",
        ("random-output",),
        figure=_share("predictions_redrawn", "change"),
    ),
    _Check(
        "batch",
        "Output does not depend on the batch",
        ("batch-dependent",),
        figure=_share("depend_on_batch", "depend"),
        missing=_measured("depend_on_batch"),
    ),
    _Check("outputs", "Output is finite", ("nonfinite-output", "masked-classes")),
    _Check("logits", "Output is logits", ("probabilities",)),
    _Check(
        "chance",
        "Clean accuracy is above guessing",
        ("near-chance",),
        figure=_share("clean_accuracy", "clean"),
    ),
    _Check(
        "transfer",
        "Transferred examples are no stronger",
        ("gradient-masking", "no-transfer-check"),
        figure=_rival("transfer"),
        missing=_no_transfer,
    ),
    _Check(
        "black-box",
        "Attack without gradients is no stronger",
        ("black-box-stronger",),
        figure=_rival("black_box"),
        missing=_no_rival,
    ),
)


def read_gate(store: Store, row: Row) -> Row:
    """What the gate measured for a run (``Store.run``); empty if it is not stored."""
    return store.stage(diagnostics_key(row["variant_key"], row["data_key"])) or {}


def lights(row: Row, gate: Row) -> list[Light]:
    """One light per check, what has to be read first above; no flag is left out.

    Args:
        row: a run (``Store.run``).
        gate: what its gate measured (``read_gate``).
    """
    found = [_light(check, row, gate.get("numbers", {})) for check in _CHECKS]
    known = {flag for check in _CHECKS for flag in check.flags}
    found += [
        Light(flag["id"], _title(flag["id"]), _level(flag["level"]), "", flag["text"])
        for flag in row["flags"]
        if flag["id"] not in known
    ]
    return sorted(found, key=lambda light: LEVELS.index(light.level))


def _light(check: _Check, row: Row, numbers: _Numbers) -> Light:
    raised = [flag for flag in row["flags"] if flag["id"] in check.flags]
    if raised:
        level = min((_level(flag["level"]) for flag in raised), key=LEVELS.index)
        words = "\n".join(flag["text"] for flag in raised)
        return Light(check.id, check.title, level, check.figure(numbers, row), words)
    missing = check.missing(numbers, row)
    if row["status"] != "finished":
        missing = "The run has not come to this check."
    if missing:
        return Light(check.id, check.title, "unknown", "", missing)
    return Light(check.id, check.title, "ok", check.figure(numbers, row))


def _level(level: str) -> str:
    return level if level in LEVELS else "warning"


def _title(flag_id: str) -> str:
    return flag_id.replace("-", " ").capitalize()


def worst(flags: Sequence[Mapping[str, str]]) -> str:
    """The level of the worst flag; ``ok`` without any."""
    return min((_level(flag["level"]) for flag in flags), key=LEVELS.index, default="ok")


def summarise(row: Row, found: Sequence[Light]) -> Summary:
    """One sentence: may the number of this run be quoted, and why (not)?"""
    if row["status"] != "finished":
        return Summary("unknown", f"Not judged yet: the run is {row['status']}.")
    objections = {level: [one for one in found if one.level == level] for level in LEVELS}
    for level, advice in (("danger", "Do not quote this number"), ("warning", "Quote with care")):
        if objections[level]:
            more = len(objections[level]) - 1
            others = f" And {more} more." if more else ""
            return Summary(level, f"{advice}: {_first(objections[level][0].words)}{others}")
    return Summary("ok", _in_favour(row, objections))


def _in_favour(row: Row, objections: Mapping[str, Sequence[Light]]) -> str:
    checks = f"{len(objections['ok'])} checks passed"
    if objections["unknown"]:
        checks += f", {len(objections['unknown'])} not made"
    if not row["eps"]:
        return f"Evidence: the distances can be quoted; {checks}."
    if not row["robust_accuracy"]:
        return f"Evidence against robustness: no image held; {checks}."
    held = f"{percent(row['robust_accuracy'])} held against {row['attack']}"
    return f"Evidence of robustness: {held}; {checks}."


def _first(text: str) -> str:
    """The first sentence, to stand after a colon."""
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]
    # Names such as PGD and L2 keep their capital.
    if sentence[1:2].isupper() or sentence[1:2].isdigit():
        return sentence
    return sentence[:1].lower() + sentence[1:]
