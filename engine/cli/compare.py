"""``crumple compare``: variants against each other under the same attack on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from engine import catalog
from engine.cli.store_options import chosen_rows, db_option, format_option, study_option
from engine.errors import StoreError
from engine.report import identity
from engine.report.differences import (
    Difference,
    Pair,
    beside,
    differences,
    differences_text,
    every_pair,
)
from engine.report.naming import titled
from engine.report.tables import RESULT_FORMATS
from engine.store import ResultRow, Store
from engine.store.artifacts import models_of


@click.command()
@click.argument("runs", type=int, nargs=-1, metavar="[RUN]...")
@click.option(
    "--beside",
    "baseline",
    type=int,
    metavar="RUN",
    help="Beside the variant of this run, under each attack; without it, beside the uncompressed "
    "model of each.",
)
@click.option("--pairs", is_flag=True, help="Every variant beside every other.")
@study_option
@db_option
@format_option(RESULT_FORMATS)
def compare(
    runs: tuple[int, ...],
    baseline: int | None,
    pairs: bool,
    study: str | None,
    db: Path,
    format_: str,
) -> None:
    """Test differences of robust accuracy on the same images: of all variants, or of each RUN.

    Two runs or more are tested pair by pair: crumple compare 3 7. The test is the exact McNemar
    test, the interval Tango's, and p (Holm) holds for everything that is printed together.
    """
    if pairs and baseline is not None:
        raise click.UsageError("Give --pairs or --beside, not both.")
    catalog.use_library(models_of(db))
    with Store(db, readonly=True) as store:
        known = store.with_specs(chosen_rows(store, study, ()))
        wanted = {row["run_id"] for row in chosen_rows(store, study, runs)}
        rows = [row for row in known if row["run_id"] in wanted]
        chosen = _pairs(rows, known, baseline, pairs or len(runs) > 1)
        found = differences(_told(chosen, format_), store.samples)
    if not found:
        _explain(runs)
    else:
        _name_left_out(runs, found)
    click.echo(differences_text(found, format_), nl=False)


def _pairs(
    rows: Sequence[ResultRow], known: Sequence[ResultRow], baseline: int | None, pairs: bool
) -> list[Pair]:
    measured = [row for row in rows if row["status"] == "finished"]
    ended = [row for row in known if row["status"] == "finished"]
    if baseline is None:
        return every_pair(measured) if pairs else beside(measured, None, ended)
    key = next((identity.variant_key(row) for row in ended if row["run_id"] == baseline), None)
    if key is not None:
        return beside(measured, lambda row: identity.variant_key(row) == key, ended)
    raise StoreError(
        f"There is no finished run {baseline} to stand beside.",
        "See the numbers with: crumple results.",
    )


def _told(pairs: Sequence[Pair], format_: str) -> list[Pair]:
    """In tables for print models have their titles; in a terminal and in data their ids."""
    if format_ not in ("latex", "markdown"):
        return list(pairs)
    titles = catalog.models.cards.titles()
    left, right = (titled([pair[side] for pair in pairs], titles) for side in (0, 1))
    return list(zip(left, right, strict=True))


def _name_left_out(runs: Sequence[int], found: Sequence[Difference]) -> None:
    """Say which of the named runs are in none of what is printed."""
    used = {row["run_id"] for one in found for row in (one.row, one.base)}
    alone = [str(run) for run in dict.fromkeys(runs) if run not in used]
    if alone:
        click.echo(
            f"Left out is what stands beside nothing here: run {', '.join(alone)}. A partner has "
            "finished the same attack, with an eps, on the same images.",
            err=True,
        )


def _explain(runs: Sequence[int]) -> None:
    if len(runs) > 1:
        raise StoreError(
            f"No two of the runs {', '.join(map(str, runs))} are finished runs of different "
            "variants under the same attack, with an eps, on the same images.",
            "See attacks and images with: crumple results.",
        )
    click.echo("No two variants have finished the same attack on the same images.", err=True)
