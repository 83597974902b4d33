"""The transfer matrix that is shown, read beside the window; no widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from engine.report.identity import attack_key, context_key, grouped, names_of
from engine.report.naming import is_flagged, namer, titled_pairs
from engine.report.transfer import Matrix, matrix_of
from engine.store import ResultRow, Store


@dataclass(frozen=True)
class Transfers:
    """The pairs of some runs under one attack.

    Attributes:
        attacks: titles of all that have a pair.
        matrix: of the one that was asked for, or of the first.
        flagged: those of its runs that are no evidence of robustness.
        several: whether an attack has several of the runs.
    """

    attacks: Sequence[str] = ()
    matrix: Matrix | None = None
    flagged: frozenset[int] = frozenset()
    several: bool = False


def read_transfers(
    store: Store, rows: Sequence[ResultRow], words: Mapping[str, str], attack: str
) -> Transfers:
    """The pairs of one attack among these runs.

    Args:
        store: where they are.
        rows: finished runs.
        words: the titles of models by id.
        attack: the title of the attack in question.
    """
    groups = grouped(rows, _attacked)
    several = any(len(group) > 1 for group in groups.values())
    judged = {key: group for key, group in groups.items() if store.has_transfers(among=_ids(group))}
    if not judged:
        return Transfers(several=several)
    # Without n: in a result it is the number of images, here those that a rate is over.
    heads = {key: _head(group[0]) for key, group in judged.items()}
    titles = names_of(heads, namer(list(heads.values()), ("dataset", "attack")))
    key = next((key for key, title in titles.items() if title == attack), next(iter(titles)))
    pairs = titled_pairs(store.transfers(among=_ids(judged[key])), words)
    flagged = frozenset(row["run_id"] for row in judged[key] if is_flagged(row))
    return Transfers(list(titles.values()), matrix_of(titles[key], pairs), flagged, several)


def _ids(rows: Sequence[ResultRow]) -> list[int]:
    return [row["run_id"] for row in rows]


def _head(row: ResultRow) -> ResultRow:
    kept = {name: row.get(name) for name in ("dataset", "attack", "norm", "spec")}
    return cast(ResultRow, kept)


def _attacked(row: ResultRow) -> str:
    """The same for runs that differ in the variant alone; studies may share them."""
    return f"{context_key(cast(ResultRow, {**row, 'study': None}))} {attack_key(row)}"
