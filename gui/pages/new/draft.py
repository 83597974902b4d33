"""What a draft of a study comes to: the study or what is wrong with it, in words; no widgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import SpecError
from engine.specs.study import Study
from engine.specs.sweeps import steps_of

MOST_RUNS = 5000
_MOST_DIGITS = 10


def seed_table(text: str) -> dict[str, Any]:
    """The key of a study file for one seed, or for several between commas or spaces.

    What is no whole number stays text, which the study refuses in a sentence.
    """
    parted = text.replace(",", " ").split()
    given = [int(one) if _is_number(one) else one for one in parted]
    return {"seeds": given} if len(given) > 1 else {"seed": given[0] if given else 0}


def _is_number(text: str) -> bool:
    """Longer ones are no seeds, and thousands of digits are none that Python converts."""
    return len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()


def seed_text(draft: Mapping[str, Any]) -> str:
    """The text of which ``seed_table`` makes the seeds of a draft."""
    return ", ".join(map(str, draft.get("seeds") or [draft.get("seed", 0)]))


def checked(draft: Mapping[str, Any]) -> Study:
    """The study of a draft.

    Raises:
        SpecError: the first thing that is missing or wrong. A model that is not in the library
            is no error here: what would run can be seen.
    """
    if not draft["name"]:
        raise SpecError("The study has no name.", "Type one in the first column.")
    if not draft["model"]:
        raise SpecError("No model is chosen.", "Tick at least one in the first column.")
    if "" in draft["dataset"].values():
        raise SpecError("The dataset has no path.", "Choose where your images are.")
    if not draft["attack"]:
        raise SpecError("No attack is chosen.", "Tick at least one in the third column.")
    # Counted before the study is expanded, because expanding a slip of the finger takes minutes.
    variants = 1 + sum(
        math.prod(_combinations(step) for step in steps_of(table)) for table in draft["compression"]
    )
    attacks = sum(_combinations(attack) for attack in draft["attack"])
    runs = len(draft.get("seeds", (0,))) * len(draft["model"]) * variants * attacks
    _check_number(runs)
    study = Study.from_dict(draft, absent_models=True)
    _check_number(study.count())  # with second attacks
    return study


def _check_number(runs: int) -> None:
    if runs > MOST_RUNS:
        raise SpecError(f"This would be {runs:,} runs, but at most {MOST_RUNS:,} make sense.")


def _combinations(table: Mapping[str, Any]) -> int:
    return math.prod(len(value) for value in table.values() if isinstance(value, list))


def sentence(study: Study) -> str:
    """For example ``2 models x 5 variants x 2 attacks = 20 runs``.

    Of repeats ``1 model x 2 variants x 1 attack x 3 seeds + 3 second attacks = 9 runs``.
    """
    parts = [
        (len(study.models), "model"),
        (len(study.recipes()), "variant"),
        (len(study.attack_specs()), "attack" if study.mode is None else "threat model"),
    ]
    if study.seeds:
        parts.append((len(study.seeds), "seed"))
    factors = " × ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
    if more := study.count_second():
        factors += f" + {more} second attacks"
    runs = study.count()
    return f"{factors} = {runs} run{'' if runs == 1 else 's'}"
