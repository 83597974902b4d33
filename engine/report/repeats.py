"""Repeats over seeds as a table: of each variant under each attack what they gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from engine.errors import CrumpleError
from engine.report.cells import csv_text, one_line
from engine.report.identity import attack_key, grouped, images_key, is_second_attack, variant_key
from engine.report.naming import called, known, shortened
from engine.report.tables import RESULT_FORMATS, json_pieces, tabulated, unknown_format
from engine.specs.choices import draws
from engine.specs.study import Run
from engine.statistics.repeats import Components, Spread, components, spread
from engine.statistics.words import in_percent
from engine.store import Columns, ResultRow

Source = Literal["attack", "training", "separated", "together", "nothing"]

SOURCE_WORDS: Mapping[Source, str] = {
    "attack": "all attack: every seed attacks the same variant",
    "training": "all training: this attack draws nothing",
    "separated": "told apart by a second attack on each trained variant",
    "together": "training and attack together: no second attack is finished that tells them apart",
    "nothing": "nothing here draws",
}
"""Where a spread comes from, in words."""

REPEAT_COLUMNS = (
    *("dataset", "n", "model", "compression", "attack", "norm", "eps", "measure", "repeats"),
    *("seeds", "mean", "sd", "low", "high", "source", "training_variance", "attack_variance"),
    *("training_share", "run_ids", "second_run_ids"),
)
"""A row for each variant under each attack."""

READ_REPEATS = (
    *("model", "compression", "attack", "seeds", "mean", "SD", "range", "training %", "attack %"),
    "runs",
)
"""The heads of ``read_lines``."""
READ_NUMERIC = frozenset({"mean", "SD", "range", "training %", "attack %"})

SPREAD_WORDS = (
    "Each seed is a repeat of all that is trained and of every attack, on the same images. Mean, "
    "standard deviation (n - 1) and range are of the repeats, in percent or as a median distance; "
    "training and attack are shares of the variance in percent. Where a second attack on each "
    "trained variant is finished they are the components of the analysis of variance, and of few "
    "seeds no more than rough; where they say together, nothing tells them apart."
)


@dataclass(frozen=True)
class Repeats:
    """A variant under an attack, once for each seed.

    Attributes:
        rows: a run per seed, in order of seeds.
        second: further attacks on the variants of these runs.
        found: what the rows gave: robust accuracy in [0,1], or a median distance.
        source: where the spread comes from (``SOURCE_WORDS``).
        parts: of the variance; None where they cannot be told apart.
    """

    rows: Sequence[ResultRow]
    second: Sequence[ResultRow]
    found: Spread
    source: Source
    parts: Components | None

    @property
    def measure(self) -> str:
        """The column that was measured."""
        return _measure(self.rows[0])

    @property
    def run_ids(self) -> tuple[int, ...]:
        """Of all that this rests on."""
        return tuple(row["run_id"] for row in (*self.rows, *self.second))


def repeats_of(rows: Sequence[ResultRow]) -> list[Repeats]:
    """All that was repeated: two seeds or more of one variant and attack on the same images.

    Args:
        rows: with their specs (``Store.with_specs``); those that are not finished have no part.
    """
    fit = [row for row in rows if row["status"] == "finished" and row[_measure(row)] is not None]
    groups = grouped(fit, _key)
    found = []
    for group in groups.values():
        first: dict[int, ResultRow] = {}
        for row in group:
            if not is_second_attack(row):
                first.setdefault(row["seed"], row)
        if len(first) > 1:
            found.append(_repeats([first[seed] for seed in sorted(first)], _second(group, first)))
    return found


def _second(group: Sequence[ResultRow], first: Mapping[int, ResultRow]) -> list[ResultRow]:
    """Each further attack once, stored in the same settings as the row of its repeat.

    What keeps another number of images is stored again, and finds the same.
    """
    found: dict[tuple[int, int], ResultRow] = {}
    for row in group:
        own = first.get(row["seed"])
        if own and is_second_attack(row) and _kept(row) == _kept(own):
            found.setdefault((row["seed"], row["spec"]["attack_seed"]), row)
    return list(found.values())


def _kept(row: ResultRow) -> object:
    return (row.get("spec") or {}).get("keep_images")


def _key(row: ResultRow) -> str:
    images = images_key(cast(ResultRow, {**row, "study": None, "spec": _without_second(row)}))
    return f"{images} {variant_key(row)} {attack_key(row)}"


def _without_second(row: ResultRow) -> dict[str, Any]:
    return {**(row.get("spec") or {}), "attack_seed": None}


def _measure(row: ResultRow) -> Literal["median_distance", "robust_accuracy"]:
    return "median_distance" if row["robust_accuracy"] is None else "robust_accuracy"


def _repeats(rows: list[ResultRow], second: list[ResultRow]) -> Repeats:
    found = spread([_value(row) for row in rows])
    source, parts = _split(rows, second, found.variance or 0.0)
    return Repeats(rows, second, found, source, parts)


def _value(row: ResultRow) -> float:
    return known(row[_measure(row)])


def _split(
    rows: Sequence[ResultRow], second: Sequence[ResultRow], variance: float
) -> tuple[Source, Components | None]:
    run = Run.model_validate(rows[0]["spec"])
    random = any(flag["id"] == "random-output" for row in rows for flag in row["flags"])
    one_variant = not _may(lambda: draws(run.recipe))
    attack_draws = random or _may(lambda: run.attack.draws)
    if one_variant:
        return ("attack" if attack_draws else "nothing"), Components(0.0, variance)
    if not attack_draws:
        return "training", Components(variance, 0.0)
    parts = components(
        [[_value(one) for one in (row, *second) if one["seed"] == row["seed"]] for row in rows]
    )
    return ("separated" if parts else "together"), parts


def _may(draw: Callable[[], bool]) -> bool:
    """Whether something draws; it may if its method is not there any more to say so."""
    try:
        return draw()
    except (CrumpleError, ValueError):
        return True


def repeat_rows(found: Sequence[Repeats]) -> list[Columns]:
    """For files: shares in [0,1] and their squares, ``REPEAT_COLUMNS``."""
    return [_row(one) for one in found]


def _row(one: Repeats) -> Columns:
    shared = ("dataset", "n", "model", "compression", "attack", "norm", "eps")
    parts = one.parts
    return {
        **{name: cast(Columns, one.rows[0])[name] for name in shared},
        "measure": one.measure,
        "repeats": one.found.count,
        "seeds": ";".join(str(row["seed"]) for row in one.rows),
        "mean": one.found.mean,
        "sd": one.found.deviation,
        "low": one.found.low,
        "high": one.found.high,
        "source": one.source,
        "training_variance": parts and parts.training,
        "attack_variance": parts and parts.attack,
        "training_share": parts and parts.training_share,
        "run_ids": ";".join(str(row["run_id"]) for row in one.rows),
        "second_run_ids": ";".join(str(row["run_id"]) for row in one.second),
    }


def repeats_text(found: Sequence[Repeats], format_: str) -> str:
    """In one of ``RESULT_FORMATS``; ``csv`` and ``json`` raw, the others for reading.

    Raises:
        SpecError: no such format.
    """
    if format_ not in RESULT_FORMATS:
        raise unknown_format(format_, RESULT_FORMATS)
    if format_ == "csv":
        return csv_text(REPEAT_COLUMNS, repeat_rows(found))
    if format_ == "json":
        return "".join(json_pieces(repeat_rows(found)))
    return tabulated(READ_REPEATS, read_lines(found), READ_NUMERIC, format_)


def read_lines(found: Sequence[Repeats]) -> list[list[str]]:
    """Cells for reading, a line each: percent, and shares of the variance."""
    short = shortened([row for one in found for row in one.rows])
    return [_line(one, short) for one in found]


def _line(one: Repeats, short: Mapping[str, str]) -> list[str]:
    row, found = one.rows[0], one.found
    share = one.parts.training_share if one.parts else None
    training = attack = "together" if one.parts is None else "0"
    if share is not None:
        training, attack = in_percent(share), in_percent(1 - share)
    return [
        one_line(called(row)),
        one_line(short.get(row["compression"], row["compression"])),
        one_line(row["attack"]),
        ", ".join(str(each["seed"]) for each in one.rows),
        _number(one, found.mean),
        _number(one, found.deviation),
        f"{_number(one, found.low)} to {_number(one, found.high)}",
        training,
        attack,
        " ".join(map(str, one.run_ids)),
    ]


def _number(one: Repeats, value: float | None) -> str:
    if value is None:
        return ""
    return in_percent(value) if one.measure == "robust_accuracy" else f"{value:.3g}"


def words(one: Repeats) -> str:
    """For example ``42.1 ± 1.3 % over 3 seeds (40.8 to 43.4); nothing here draws``."""
    found, unit = one.found, " %" if one.measure == "robust_accuracy" else ""
    text = (
        f"{_number(one, found.mean)} ± {_number(one, found.deviation)}{unit} over {found.count} "
        f"seeds ({_number(one, found.low)} to {_number(one, found.high)})"
    )
    share = one.parts.training_share if one.parts else None
    if one.source == "separated" and share is not None:
        return (
            f"{text}; of the variance about {100 * share:.0f} % is training and "
            f"{100 * (1 - share):.0f} % attack, by {len(one.run_ids)} attacks on {found.count} "
            "trained variants"
        )
    if share is None and one.parts is not None:
        return f"{text}; nothing varies"
    return f"{text}; {SOURCE_WORDS[one.source]}"
