"""The checks of a run: what each says of it, from what was measured and flagged.

They are made once, when a run ends, and stored with it. Of a run of before they are made from
what is stored of it. Only the check of its rivals is made whenever it is read, since what else
is stored of its variant changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine import catalog
from engine.flags import ABOUT_GRADIENTS, ABOUT_SEARCH
from engine.statistics.words import counted, percent

LEVELS = ("danger", "warning", "info", "unknown", "ok")
"""From what has to be read first to what can be skipped; ``unknown`` is a check not made."""

Row = Mapping[str, Any]
_NOT_MEASURED = "This was not measured for this run."
_SEARCH_CHECKED = 2
"""Version of the diagnostics from which on the course of the search is checked."""
_LEAST_STEPS = 8
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """What one check says of a run.

    Attributes:
        id: stable name, for example ``secants``.
        title: what is so where all is well.
        level: one of ``LEVELS``.
        figure: the number behind it, with its unit; empty if there is none.
        words: what was found, or why there is nothing; empty if all is well.
        flags: ids of the flags of the run that it raised.
    """

    id: str
    title: str
    level: str
    figure: str = ""
    words: str = ""
    flags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Row) -> Check:
        """The check that ``to_dict`` wrote."""
        return cls(**{**data, "flags": tuple(data["flags"])})


@dataclass(frozen=True)
class _Rule:
    """How a check is made.

    Attributes:
        flags: that it can raise; the worst one counts.
        figure: the number from those of the gate and the row.
        missing: why it was not made, empty if it was.
        applies: whether there is anything to say of such a run at all.
    """

    id: str
    title: str
    flags: tuple[str, ...]
    figure: Callable[[Numbers, Row], str] = lambda _numbers, _row: ""
    missing: Callable[[Numbers, Row], str] = lambda _numbers, _row: ""
    applies: Callable[[Row], bool] = lambda _row: True


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
    tried = (check for check in made if check["tried"] and not check.get("naive"))
    return next((check for check in tried if _follows_gradient(check["name"])), None)


def _follows_gradient(attack: str) -> bool:
    entry = catalog.section("attacks").get(attack)
    return entry is not None and "gradient" in entry.traits


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


def _naive(row: Row) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (row.get("checks") or {}).get("naive") or {}
    return found


def _naive_figure(_: Numbers, row: Row) -> str:
    naive = _naive(row)
    return f"{percent(naive['held'] / naive['n'])} of {naive['n']} held" if naive.get("n") else ""


def _no_naive(_: Numbers, row: Row) -> str:
    naive = _naive(row)
    return f"It could not be made: {naive['reason']}" if naive.get("reason") else ""


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


_RULES = (
    _Rule("present", "Gradient exists", ("no-gradient",)),
    _Rule("finite", "Gradient is finite", ("nonfinite-gradient",)),
    _Rule(
        "zero",
        "Gradient is not zero",
        ("zero-gradient",),
        figure=_share("gradient_zero_fraction", "zero"),
    ),
    _Rule(
        "saturated",
        "Loss is not saturated",
        ("saturated-loss",),
        figure=_share("gradient_saturated_fraction", "flat"),
    ),
    _Rule(
        "parent",
        "Gradient agrees with the parent",
        ("gradient-disagrees",),
        figure=_cosine("gradient_cosine"),
        missing=_no_parent,
    ),
    _Rule(
        "secants",
        "Gradient tells what happens",
        ("secants-disagree",),
        figure=_cosine("secant_agreement"),
        missing=_measured("secant_agreement"),
    ),
    _Rule(
        "temperature",
        "Scale of the logits does not matter",
        ("logit-scale",),
        figure=_scales,
        missing=_measured("temperature_broken"),
    ),
    _Rule(
        "unconstrained",
        "Unconstrained attack breaks all",
        ("unconstrained-survives",),
        figure=_share("unconstrained_accuracy", "left"),
        missing=_measured("unconstrained_accuracy"),
    ),
    _Rule(
        "rivals",
        "No stored attack is stronger",
        ("stronger-attack", "closer-examples"),
        figure=_worst_case,
        missing=_alone,
    ),
    _Rule("unfinished", "Attack had come to its end", ("unfinished",), missing=_not_iterative),
    _Rule("lost", "Attack lost no example", ("silent-success",), missing=_older),
    _Rule(
        "view",
        "Search copy agrees with the deployed model",
        ("view-disagrees",),
        figure=_share("view_agreement", "same"),
    ),
    _Rule(
        "random",
        "Output is deterministic",
        ("random-output",),
        figure=_share("predictions_redrawn", "change"),
    ),
    _Rule(
        "batch",
        "Output does not depend on the batch",
        ("batch-dependent",),
        figure=_share("depend_on_batch", "depend"),
        missing=_measured("depend_on_batch"),
    ),
    _Rule("outputs", "Output is finite", ("nonfinite-output", "masked-classes")),
    _Rule("logits", "Output is logits", ("probabilities",)),
    _Rule(
        "chance",
        "Clean accuracy is above guessing",
        ("near-chance",),
        figure=_share("clean_accuracy", "clean"),
    ),
    _Rule(
        "transfer",
        "Transferred examples are no stronger",
        ("gradient-masking", "no-transfer-check"),
        figure=_rival("transfer"),
        missing=_no_transfer,
    ),
    _Rule(
        "black-box",
        "Attack without gradients is no stronger",
        ("black-box-stronger", "no-survivor-check"),
        figure=_square,
        missing=_no_rival,
    ),
    _Rule(
        "targeted",
        "Targeted APGD is no stronger",
        ("targeted-stronger",),
        figure=_targeted_figure,
        missing=_no_targeted,
    ),
    _Rule(
        "naive",
        "Naive attack tells the same",
        ("false-robustness", "naive-stronger"),
        figure=_naive_figure,
        missing=_no_naive,
        applies=lambda row: bool(_naive(row)),
    ),
)


def run_checks(row: Row, numbers: Numbers) -> list[Check]:
    """What every check says of a run.

    Args:
        row: a run (``Store.run``).
        numbers: what its gate measured (``diagnostics.GateReport``); empty if that is not known.
    """
    return [_made(rule, row, numbers) for rule in _RULES if rule.applies(row)]


def current(checks: Sequence[Check], row: Row) -> list[Check]:
    """Stored checks of a run, that of its rivals made anew from the verdict of today."""
    anew = {rule.id: _made(rule, row, {}) for rule in _RULES if rule.id == "rivals"}
    return [anew.get(check.id, check) for check in checks]


def _made(rule: _Rule, row: Row, numbers: Numbers) -> Check:
    raised = [flag for flag in row["flags"] if flag["id"] in rule.flags]
    if raised:
        level = min((level_of(flag) for flag in raised), key=LEVELS.index)
        words = "\n".join(flag["text"] for flag in raised)
        ids = tuple(dict.fromkeys(flag["id"] for flag in raised))
        return Check(rule.id, rule.title, level, rule.figure(numbers, row), words, ids)
    missing = _moot(rule, row) or rule.missing(numbers, row)
    if row["status"] != "finished":
        missing = "The run has not come to this check."
    if missing:
        return Check(rule.id, rule.title, "unknown", "", missing)
    return Check(rule.id, rule.title, "ok", rule.figure(numbers, row))


def level_of(flag: Row) -> str:
    """The level of a flag; one that nobody knows is a warning."""
    level = str(flag["level"])
    return level if level in LEVELS else "warning"


def _moot(rule: _Rule, row: Row) -> str:
    """Why a check has nothing to say about a run; empty if it has."""
    raised = set(rule.flags)
    known = traits(row)
    if raised <= ABOUT_GRADIENTS and known is not None and "gradient" not in known:
        return "The attack follows no gradient."
    if raised <= ABOUT_SEARCH and row["eps"] and row["robust_accuracy"] == 0:
        return "No image held, so no stronger search is missed."
    return ""
