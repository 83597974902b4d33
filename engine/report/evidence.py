"""What the diagnostics say of a run: one light per check and one sentence; no widgets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.flags import FlagRow
from engine.statistics.run_checks import LEVELS, Check, level_of, traits
from engine.statistics.words import counted, percent
from engine.store import RunRow

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

_LEAST_SHARE = 0.1
"""Of the clean accuracy that has to hold at least to be called robust."""


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


def lights(row: RunRow, checks: Sequence[Check]) -> list[Light]:
    """One light per check, what has to be read first above; no flag is left out.

    Args:
        row: a run (``Store.run``).
        checks: its checks (``Store.checks``).
    """
    found = [
        Light(check.id, check.title, check.level, check.figure, check.words) for check in checks
    ]
    known = {flag for check in checks for flag in check.flags}
    found += [
        Light(flag["id"], _title(flag["id"]), level_of(flag), "", flag["text"])
        for flag in row["flags"]
        if flag["id"] not in known
    ]
    return sorted(found, key=lambda light: LEVELS.index(light.level))


def _title(flag_id: str) -> str:
    return flag_id.replace("-", " ").capitalize()


def worst(flags: Sequence[FlagRow]) -> str:
    """The level of the worst flag; ``ok`` without any."""
    return min((level_of(flag) for flag in flags), key=LEVELS.index, default="ok")


def summarise(row: RunRow, found: Sequence[Light]) -> Summary:
    """One sentence: may the number of this run be quoted, and why (not)?"""
    if row["status"] != "finished":
        return Summary("unknown", f"Not judged yet: the run is {row['status']}.")
    objections = {level: [one for one in found if one.level == level] for level in LEVELS}
    for level, advice in (("danger", "Do not quote this number"), ("warning", "Quote with care")):
        if objections[level]:
            more = len(objections[level]) - 1
            others = f" And {more} more." if more else ""
            return Summary(level, f"{advice}: {_first(objections[level][0].words)}{others}")
    level, text = _in_favour(row)
    checks = counted(len(objections["ok"]), "check") + " passed"
    if objections["unknown"]:
        checks += f", {len(objections['unknown'])} not made"
    return Summary(level, f"{text}; {checks}.")


def _in_favour(row: RunRow) -> tuple[str, str]:
    """Level and words for a run that nothing objects to: how much does its number say?

    One attack gives an upper bound, whatever it leaves. Green is for several strong attacks of
    different kinds that agree (``engine.statistics.run_verdict``). What a classifier keeps that
    does not look at its images, one of K classes, is no robustness, nor is less than a tenth of
    the clean accuracy: the lower end of the interval has to lie above both.
    """
    verdict = row.get("verdict") or {}
    kinds = verdict.get("kinds", [])
    if not row["eps"]:
        if verdict.get("agree"):
            return "ok", f"Evidence: the distances can be quoted, {_listed(kinds)} agree"
        return "info", (
            "Upper bound: the distances can be quoted as such, the closest examples may be closer; "
            "two strong minimum-norm attacks that agree, such as ddn and fmn, would be evidence"
        )
    share = row["robust_accuracy"]
    if not share:
        return "info", "Evidence against robustness: no image held"
    held = f"{percent(share)} held against {row['attack']}"
    least = _least(row)
    low = row.get("ci_low")
    if (share if low is None else low) <= least:
        more = "no more" if share <= least else "not significantly more"
        return (
            "info",
            f"No evidence of robustness: {held}, {more} than the {percent(least)} of {_WHO}",
        )
    if "single step" in (traits(row) or ()):
        return "warning", f"Upper bound only: {held}, which takes a single step"
    if not verdict.get("agree"):
        return "info", f"Upper bound: {held}; {_wanting(row, kinds)}"
    worst = row.get("worst_case")
    every = f"{percent(share if worst is None else worst)} survive everything that is stored"
    return "ok", (
        f"Evidence of robustness: {every}; {held}, and strong searches of {len(kinds)} kinds "
        f"agree ({_listed(kinds)})"
    )


def _wanting(row: RunRow, kinds: Sequence[str]) -> str:
    """What keeps an upper bound from being evidence."""
    worst, share = row.get("worst_case"), row["robust_accuracy"]
    if worst is not None and share is not None and worst < share:
        return f"{percent(worst)} survive everything that is stored"
    advice = (
        "an attack of another kind that agrees, such as square or apgd-t, would make it evidence"
    )
    return f"only {_listed(kinds)} came so far; {advice}" if len(kinds) == 1 else advice


_WHO = "somebody who guesses, or a tenth of the clean accuracy"


def _least(row: RunRow) -> float:
    classes = len(row["environment"].get("class_names", ()))
    return max(1 / classes if classes else 0.0, _LEAST_SHARE * (row.get("clean_accuracy") or 0.0))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _first(text: str) -> str:
    """The first sentence, to stand after a colon."""
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]
    # Names such as PGD and L2 keep their capital.
    if sentence[1:2].isupper() or sentence[1:2].isdigit():
        return sentence
    return sentence[:1].lower() + sentence[1:]
